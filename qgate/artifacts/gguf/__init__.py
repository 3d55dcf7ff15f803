"""GGUF files: header, tensor types, shards."""

from __future__ import annotations
