"""Perplexity and divergence against the reference, paired by token."""

from __future__ import annotations
