"""What runs in the child: its loop, scoring, sampling and times."""

from __future__ import annotations
