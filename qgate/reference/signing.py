"""The key that entries of a store are signed with: who can write into a store can forge none.

It is the user's and lies outside of any checkout, `$XDG_DATA_HOME/qgate/store.key` or
`~/.local/share/qgate/store.key`, made when it is first needed. People and machines that share a
store share QGATE_STORE_KEY. No child gets either: see `qgate.runtimes.environment`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import shlex
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.untrusted.files import open_unlinked

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "QGATE_STORE_KEY"
_LEAST = 32
"""Bytes: shorter ones can be guessed."""
_MOST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What this user, or this team, signs entries with."""

    secret: bytes = field(repr=False)
    problem: str = ""
    """Why no later run will have it; empty where it will."""

    @property
    def name(self) -> str:
        """Tells keys apart and gives none away."""
        return self._mac("name")[:8]

    def sign(self, name: str, text: str) -> str:
        """The signature of an entry under its name: under another name it is no entry."""
        return self._mac(f"entry\0{name}\0{text}")

    def _mac(self, text: str) -> str:
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()


def find_key(environ: Mapping[str, str]) -> Key:
    """The key of the environment, else the user's own, made if there is none.

    Where there can be none it is a new one, which goes with this process.

    Raises:
        UsageError: the key of the environment is too short.
    """
    given = environ.get(VARIABLE, "").encode(errors="surrogateescape")
    if given:
        if len(given) < _LEAST:
            raise UsageError(
                f"{VARIABLE}: got {len(given)} bytes; expected at least {_LEAST}."
                " Make one with: openssl rand -hex 32"
            )
        return Key(secret=given)
    try:
        return Key(secret=_own(_place(environ)))
    except (OSError, RuntimeError) as error:
        told = getattr(error, "strerror", None) or str(error)
        where = getattr(error, "filename", None)
        return Key(secret=_new(), problem=f"{where}: {told}" if where else told)


def _place(environ: Mapping[str, str]) -> Path:
    named = Path(environ.get("XDG_DATA_HOME", ""))
    data = named if named.is_absolute() else Path("~/.local/share").expanduser()
    return data / "qgate" / "store.key"


def _own(path: Path) -> bytes:
    if not os.path.lexists(path):
        _make(path)
    with os.fdopen(open_unlinked(path), "rb") as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid():
            raise PermissionError(0, _of_another(path, found.st_uid), str(path))
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(0, "others can read or write it; expected mode 0600", str(path))
        secret = file.read(_MOST)
    if len(secret) < _LEAST:
        raise OSError(0, f"got {len(secret)} bytes; expected at least {_LEAST}", str(path))
    return secret


def _of_another(path: Path, owner: int) -> str:
    """The owner keeps his key: a second one lies in a data directory beside it."""
    user = os.geteuid()
    beside = shlex.quote(str(path.parents[1] / f"uid-{user}"))
    return (
        f"got a file of uid {owner}; expected one of uid {user}, who runs this. For a key of"
        f" your own type: export XDG_DATA_HOME={beside}"
    )


def _make(path: Path) -> None:
    """Put a new key there, whole or not at all; one that was put there meanwhile stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".store.key-", dir=path.parent)  # exclusive, mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_new())
            file.flush()
            os.fsync(handle)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def _new() -> bytes:
    return secrets.token_hex(_LEAST).encode()
