"""What a run will do and what that costs, decided before anything is loaded."""

from __future__ import annotations
