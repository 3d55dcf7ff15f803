"""Files, scheme and weights: whether they are what they claim."""

from __future__ import annotations
