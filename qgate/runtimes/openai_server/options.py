"""Where a server is, what it is told to be called, and the key to it.

    runtimes:
      openai_server:
        url: http://127.0.0.1:8000/v1
        model: demo              # default: the only one that the server lists
        timeout_s: 300           # of one request

The key is read from a file whose path is in the environment variable QGATE_OPENAI_KEYFILE: a path
is no secret, and variables that hold secrets do not come through to this process. It is never part
of an address, of a log or of a message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from qgate.errors import RuntimeUnavailable
from qgate.untrusted.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_FILE_VARIABLE = "QGATE_OPENAI_KEYFILE"
_SECTION = "runtimes.openai_server"
_OPTIONS = ("model", "timeout_s", "url")
_LONGEST_KEY = 4096
_TIMEOUT_S = 300.0
_LONGEST_TIMEOUT_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Of one server."""

    host: str
    port: int
    is_secure: bool
    api: str
    """Path of the OpenAI-compatible part, e.g. `/v1`."""

    @property
    def root(self) -> str:
        """Path of what servers offer beside it; empty for most."""
        return self.api.removesuffix("/v1")

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_secure else 'http'}://{host}:{self.port}"

    @property
    def shown(self) -> str:
        """As messages have it."""
        return f"{self.origin}{self.api}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """This runtime's section of the thresholds file."""

    address: Address
    model: str | None
    timeout_s: float


def read_options(options: Mapping[str, object]) -> Options:
    """Check what a user wrote.

    Raises:
        RuntimeUnavailable: without this nothing can be asked; the message says what is expected.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise RuntimeUnavailable(
            f"{_SECTION}: unknown option: got {quoted(unknown[0])};"
            f" expected one of {', '.join(_OPTIONS)}"
        )
    model, timeout_s = options.get("model"), options.get("timeout_s", _TIMEOUT_S)
    if model is not None and (not isinstance(model, str) or not model):
        raise RuntimeUnavailable(f"{_SECTION}.model: got {_seen(model)}; expected a name")
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not 0.0 < float(str(timeout_s)) <= _LONGEST_TIMEOUT_S:
        raise RuntimeUnavailable(
            f"{_SECTION}.timeout_s: got {_seen(timeout_s)}; expected seconds, more than 0"
        )
    return Options(
        address=read_address(options.get("url")), model=model, timeout_s=float(str(timeout_s))
    )


def read_address(url: object) -> Address:
    """Take an address apart.

    Raises:
        RuntimeUnavailable: it is none, or it holds what must not be in one.
    """
    expected = "expected an address such as http://127.0.0.1:8000/v1"
    if not isinstance(url, str) or not url:
        raise RuntimeUnavailable(f"{_SECTION}.url: got {_seen(url)}; {expected}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RuntimeUnavailable(f"{_SECTION}.url: got no address; {expected}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        # not shown: this may be where somebody put a password
        raise RuntimeUnavailable(
            f"{_SECTION}.url: got an address with a login, a query or a fragment; {expected}."
            f" A key belongs into the file that {KEY_FILE_VARIABLE} names"
        )
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or not is_plain:
        raise RuntimeUnavailable(f"{_SECTION}.url: got {quoted(url)}; {expected}")
    is_secure = parts.scheme == "https"
    return Address(
        host=host,
        port=(443 if is_secure else 80) if port is None else port,
        is_secure=is_secure,
        api=parts.path.rstrip("/") or "/v1",
    )


def read_key(environ: Mapping[str, str]) -> str | None:
    """The key in the file that the environment names; None where it names none.

    Raises:
        RuntimeUnavailable: there is no key in it.
    """
    named = environ.get(KEY_FILE_VARIABLE)
    if not named:
        return None
    path = Path(named).expanduser()
    where = f"{KEY_FILE_VARIABLE}: {printable(named)}"
    if not path.is_absolute():
        raise RuntimeUnavailable(f"{where}: got a relative path; expected an absolute one")
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST_KEY + 1)
    except OSError as error:
        raise RuntimeUnavailable(f"{where}: cannot be read: {error.strerror}") from error
    key = raw.decode("latin-1").strip()
    if not key or len(raw) > _LONGEST_KEY or not all("!" <= char <= "~" for char in key):
        raise RuntimeUnavailable(f"{where}: got no key; expected one line without spaces")
    return key


def _seen(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return "no number"
    return quoted(str(value))
