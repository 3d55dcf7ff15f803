"""Edge cases: where a quantized model breaks first, each held against the original's own rate."""

from __future__ import annotations
