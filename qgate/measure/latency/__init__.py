"""Time to first token and between tokens, both sides measured in turns."""

from __future__ import annotations
