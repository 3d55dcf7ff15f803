"""Hugging Face directories in transformers."""

from __future__ import annotations
