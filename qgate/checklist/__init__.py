"""The checklist as ordinary pytest tests, one module per line."""

from __future__ import annotations
