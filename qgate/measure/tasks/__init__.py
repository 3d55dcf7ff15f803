"""Tasks: items with right answers, asked, graded and paired."""

from __future__ import annotations
