"""One run: measured once, judged, entered in the ledger."""

from __future__ import annotations
