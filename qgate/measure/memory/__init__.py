"""Memory of serving: weights, KV cache, peak and growth."""

from __future__ import annotations
