"""Hugging Face directories in vLLM."""

from __future__ import annotations
