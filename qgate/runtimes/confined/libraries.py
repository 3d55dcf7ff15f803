"""Where the dynamic linker and PATH lead beside the system's own places.

Drivers name their libraries under /etc/ld.so.conf.d, module systems put compilers on PATH: Triton
and torch.compile start one. A compiler needs what lies beside its directory, too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COMPILERS = ("cc", "gcc", "g++", "clang", "clang++", "nvcc")
_HOMES = ("/home", "/root")


def library_places(etc: Path = Path("/etc")) -> Iterator[Path]:
    """Directories in which the dynamic linker looks."""
    for file in (etc / "ld.so.conf", *sorted((etc / "ld.so.conf.d").glob("*.conf"))):
        with suppress(OSError):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("/"):
                    yield Path(line.partition("#")[0].strip())


def program_places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Directories of PATH, with the whole installation of a compiler in one; of homes none.

    Beside programs, a home's ~/.local and ~/.cargo hold keys.
    """
    for part in environ.get("PATH", "").split(":"):
        if part.startswith("/") and not _is_of_a_home(part):
            yield Path(part)
            for name in _COMPILERS:
                yield from installation_of(Path(part, name))


def installation_of(program: Path) -> Iterator[Path]:
    """What a compiler was installed as, links to it followed."""
    place = Path(os.path.realpath(program))
    if place.is_file() and place.parent.name == "bin" and not _is_of_a_home(str(place)):
        yield place.parents[1]


def _is_of_a_home(path: str) -> bool:
    place = Path(os.path.realpath(path))
    own = os.path.realpath(os.path.expanduser("~"))  # noqa: PTH111
    return any(place.is_relative_to(home) for home in (*_HOMES, own))
