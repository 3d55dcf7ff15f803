"""What strangers wrote: files, JSON and text, read within bounds and shown safely."""

from __future__ import annotations
