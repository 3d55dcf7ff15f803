"""Small disks, full disks and disks that take nothing, for one command each."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_ON_A_DISK = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@"'


def on_a_disk(place: Path, options: str = "size=16k") -> list[str]:
    """What a command begins with that finds a disk at `place` which nobody else sees.

    Args:
        place: is made.
        options: of `mount -t tmpfs`.
    """
    place.mkdir(exist_ok=True)
    prefix = ["unshare", "-m", "sh", "-c", _ON_A_DISK, "sh", options, str(place)]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk of its own cannot be mounted here, it needs root: {error}")
    return prefix
