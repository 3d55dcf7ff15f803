"""HTTP to one server: plain, bounded in size and time, and nobody else's in between.

`http.client` of the standard library: no proxy is taken from the environment, no redirect is
followed, certificates are checked as Python does by default. Each request has a connection of its
own: one that is used again may have been closed by the other side at any moment, and a measurement
is not tried twice. Where an answer is no answer, the error says so in one line; the API key is in
none of them.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError, RuntimeFailed, RuntimeUnavailable
from qgate.runtimes.openai_server.options import KEY_FILE_VARIABLE
from qgate.runtimes.openai_server.response import parse_json, reason_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from qgate.runtimes.openai_server.options import Address

_LONGEST_ANSWER_BYTES = 32 * 2**20
_LONGEST_LINE_BYTES = 2**20
_LONGEST_REFUSAL_BYTES = 64 * 1024
_PART_BYTES = 64 * 1024
_CONNECT_S = 10.0
_DONE = b"[DONE]"


class Server:
    """One server; several threads may ask it at a time.

    Raises:
        RuntimeUnavailable: it cannot be reached, or it wants another key.
        RuntimeFailed: it broke off, took too long or says that it failed.
        MeasurementError: it refuses the request, or answers what nobody can read.
    """

    def __init__(self, address: Address, key: str | None, timeout_s: float) -> None:
        self.address = address
        self._key, self._timeout_s = key, timeout_s

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return self._ask(path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        return self._ask(path, body)

    def find(self, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """What an endpoint answers that a server may have; None where it has none."""
        try:
            return self._ask(path, body)
        except MeasurementError:
            return None

    def stream(self, path: str, body: dict[str, Any]) -> Generator[Any, None, None]:
        """Server-sent events, each as soon as it is there; sent when the first one is asked for.

        The connection is made before that: it is no part of anybody's time.
        """
        sent, connection = json.dumps(body).encode(), self._connect()

        def events() -> Generator[Any, None, None]:
            with self._answered(connection, path, sent) as parts:
                yield from self._events(parts, path)

        return events()

    def _ask(self, path: str, body: dict[str, Any] | None) -> Any:  # noqa: ANN401 - JSON
        sent = None if body is None else json.dumps(body).encode()
        with self._answered(self._connect(), path, sent) as parts:
            return parse_json(b"".join(parts), self._where(path))

    def _connect(self) -> http.client.HTTPConnection:
        address = self.address
        kind = http.client.HTTPSConnection if address.is_secure else http.client.HTTPConnection
        connection = kind(address.host, address.port, timeout=min(_CONNECT_S, self._timeout_s))
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise RuntimeUnavailable(
                f"openai_server: {address.shown}: cannot be reached: {_why(error)}."
                " Start the server, or correct runtimes.openai_server.url"
            ) from error
        return connection

    @contextmanager
    def _answered(
        self, connection: http.client.HTTPConnection, path: str, sent: bytes | None
    ) -> Iterator[Iterator[bytes]]:
        """Send a request; its answer comes in parts."""
        sock = connection.sock
        assert sock is not None
        headers = {"Accept": "application/json, text/event-stream", "Connection": "close"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        if sent is not None:
            headers["Content-Type"] = "application/json"
        try:
            sock.settimeout(self._timeout_s)
            connection.request("GET" if sent is None else "POST", path, body=sent, headers=headers)
            _acknowledge_at_once(sock)
            with connection.getresponse() as response:
                self._require_ok(response, path)
                yield self._parts(response, sock, path)
        except TimeoutError as error:
            within = f"no answer, or no end of it, within {self._timeout_s:g} s"
            raise RuntimeFailed(f"{self._where(path)}: {within}") from error
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeFailed(f"{self._where(path)}: no answer: {_why(error)}") from error
        finally:
            connection.close()

    def _parts(
        self, response: http.client.HTTPResponse, sock: socket.socket, path: str
    ) -> Iterator[bytes]:
        """What comes, as it comes, until the answer's end."""
        until, size = time.monotonic() + self._timeout_s, 0
        _acknowledge_at_once(sock)
        while part := response.read1(_PART_BYTES):
            size += len(part)
            if size > _LONGEST_ANSWER_BYTES:
                raise MeasurementError(
                    f"{self._where(path)}: the answer does not end: got {size} bytes;"
                    f" expected at most {_LONGEST_ANSWER_BYTES}"
                )
            yield part
            left_s = until - time.monotonic()
            if left_s <= 0.0:
                raise TimeoutError
            sock.settimeout(left_s)
            _acknowledge_at_once(sock)
        if response.length:  # read1 takes a connection's early end for the answer's
            raise RuntimeFailed(
                f"{self._where(path)}: the answer is cut short: {response.length} bytes are missing"
            )

    def _events(self, parts: Iterator[bytes], path: str) -> Iterator[Any]:
        kept = b""
        for part in parts:
            *lines, kept = (kept + part).split(b"\n")
            if len(kept) > _LONGEST_LINE_BYTES:
                raise MeasurementError(
                    f"{self._where(path)}: a line of the stream does not end: got {len(kept)}"
                    f" bytes; expected at most {_LONGEST_LINE_BYTES}"
                )
            for line in lines:
                name, _, data = line.partition(b":")
                if name not in (b"data", b"error"):  # a comment, an event's name, a blank line
                    continue
                if data.strip() == _DONE:
                    return
                event = parse_json(data, self._where(path))
                if name == b"error" or (isinstance(event, dict) and event.get("error")):
                    raise RuntimeFailed(
                        f"{self._where(path)}: the stream breaks off: {self._shown(data)}"
                    )
                yield event

    def _require_ok(self, response: http.client.HTTPResponse, path: str) -> None:
        if response.status == http.HTTPStatus.OK:
            return
        said = self._shown(response.read1(_LONGEST_REFUSAL_BYTES))
        line = f"{self._where(path)}: got {response.status} {said}"
        if 300 <= response.status < 400:
            raise RuntimeUnavailable(
                f"{line}; expected no redirect: none is followed. Name the right address"
            )
        if response.status in (401, 403):
            raise RuntimeUnavailable(
                f"{line}. Write its API key to a file and that file's path into the environment"
                f" variable {KEY_FILE_VARIABLE}"
            )
        if response.status >= 500:
            raise RuntimeFailed(line)
        raise MeasurementError(line)

    def _shown(self, raw: bytes) -> str:
        """A server's own words, without the key, which some of them repeat."""
        said = reason_of(raw)
        return said.replace(self._key, "***") if self._key else said

    def _where(self, path: str) -> str:
        return f"openai_server: {self.address.origin}{path}"


def _acknowledge_at_once(sock: socket.socket) -> None:
    """Until the next read, which undoes it.

    Many servers leave Nagle's algorithm on: a token then waits for the acknowledgement of the one
    before, which Linux would put off for 40 ms.
    """
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _why(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split())
