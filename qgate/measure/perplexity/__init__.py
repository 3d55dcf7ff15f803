"""Perplexity and divergence against the original, paired by token."""

from __future__ import annotations
