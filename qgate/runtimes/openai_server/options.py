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

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from qgate.errors import RuntimeUnavailable
from qgate.runtimes.spec import option
from qgate.untrusted.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_FILE_VARIABLE = "QGATE_OPENAI_KEYFILE"
_SECTION = "runtimes.openai_server"
_LONGEST_KEY = 4096


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


_PATTERN = r"https?://[^/\s@?#]+(/[^\s@?#]*)?"
_ADDRESS = "an address such as http://127.0.0.1:8000/v1, without a login or a query in it"


def _url() -> Any:  # noqa: ANN401 - a field
    return option(
        "Where it answers, with the path before /chat/completions.",
        pattern=_PATTERN,
        expected=_ADDRESS,
    )


def _model() -> Any:  # noqa: ANN401 - a field
    return option("The model's name there; absent: the only one that it serves.", pattern=".+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Under `runtimes: {openai_server: ...}`."""

    url: str | None = _url()
    model: str | None = _model()
    reference_url: str | None = _url()
    reference_model: str | None = _model()
    timeout_s: float | None = option("Seconds that one request may take.", gt=0, le=86_400)


def read_address(url: str | None) -> Address:
    """Take an address apart.

    Raises:
        RuntimeUnavailable: it is none, or it holds what must not be in one.
    """
    expected = "expected an address such as http://127.0.0.1:8000/v1"
    if not url:
        raise RuntimeUnavailable(f"{_SECTION}.url: got nothing; {expected}")
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
