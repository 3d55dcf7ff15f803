"""What an interpreter reads to start and import, found without starting it."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from qgate.confinement.view import trace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SETTINGS = "pyvenv.cfg"
_LONGEST_LINE = 4096
_SITES = ("lib/python3*/site-packages", "lib64/python3*/site-packages")


def user_base(environ: Mapping[str, str]) -> Path:
    """Where `pip install --user` puts packages."""
    # without a home it stays as it is, and nothing is there
    return Path(environ.get("PYTHONUSERBASE") or os.path.expanduser("~/.local"))  # noqa: PTH111


def places_of(python: str, environ: Mapping[str, str]) -> list[Path]:
    """Its virtual environment, what that was made of, and what its packages point at.

    Args:
        python: a path, or a name on PATH.
        environ: of the child.
    """
    program = Path(shutil.which(python) or python).absolute()
    starters = [program, *_named_by(program)]
    prefixes = list(dict.fromkeys(prefix for one in starters for prefix in _prefixes(one)))
    base = user_base(environ)
    sites = [
        site for prefix in (*prefixes, base) for kind in _SITES for site in _glob(prefix, kind)
    ]
    linked = [place for site in sites for place in _linked(site)]
    return [*starters, *prefixes, *sites, *linked]


def _glob(place: Path, pattern: str) -> list[Path]:
    """Empty, too, where nobody may look."""
    with suppress(OSError):
        return list(place.glob(pattern))
    return []


def _named_by(program: Path) -> Iterator[Path]:
    """What runs it, where it is a script."""
    with suppress(OSError), program.open("rb") as file:
        begin, _, rest = file.readline(_LONGEST_LINE).partition(b"#!")
        words = os.fsdecode(rest).split()
        if not begin and words:
            yield Path(words[0])


def _prefixes(program: Path) -> Iterator[Path]:
    links, end = trace(program)
    for step in (program, *map(Path, links), Path(end)):
        for place in (step.parent, step.parent.parent):
            if found := list(_made_of(place / _SETTINGS)):
                yield from (place, *found)
    if _glob(Path(end).parent.parent, "lib*/python3*"):
        yield Path(end).parent.parent


def _made_of(settings: Path) -> Iterator[Path]:
    """The prefix of the interpreter that a virtual environment was made with."""
    with suppress(OSError):
        for line in settings.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "home" and Path(value.strip()).is_absolute():
                yield Path(value.strip()).parent


def _linked(site: Path) -> Iterator[Path]:
    """Directories elsewhere that packages of a directory are imported from."""
    with suppress(OSError):
        for entry in os.scandir(site):
            if entry.name.endswith(".pth"):
                yield from _lines(Path(entry.path))
            elif entry.name.endswith(".dist-info"):
                yield from _editable(Path(entry.path, "direct_url.json"))


def _lines(path: Path) -> Iterator[Path]:
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("/"):
                yield Path(line.strip())


def _editable(path: Path) -> Iterator[Path]:
    """Where a package that was installed with `pip install -e` lies."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(path.read_bytes())
        if found.get("dir_info", {}).get("editable"):
            yield Path(unquote(urlsplit(found["url"]).path))
