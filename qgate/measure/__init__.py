"""A served model and the reference give samples; a folder for each line of the checklist."""

from __future__ import annotations
