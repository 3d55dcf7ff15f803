"""Edge cases: where a quantized model breaks first, each held against the reference's own rate."""

from __future__ import annotations
