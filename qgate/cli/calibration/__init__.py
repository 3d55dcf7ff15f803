"""The reference against itself: what two runs of one model differ by all the same."""

from __future__ import annotations
