"""Tokenizers and chat templates as the files have them, compared."""

from __future__ import annotations
