"""What a project may want of confinement."""

from __future__ import annotations

from typing import Literal

Mode = Literal["auto", "require", "off"]
MODES: tuple[Mode, ...] = ("auto", "require", "off")
"""`auto`: as far as the machine can; `require`: not without; `off`: not at all."""
