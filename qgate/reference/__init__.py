"""The reference, measured once: its texts, tokens, distributions and answers, stored."""

from __future__ import annotations
