"""How much is asked: what a run may cost, and when enough is known."""

from __future__ import annotations
