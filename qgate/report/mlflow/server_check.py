"""Is there an MLflow server that answers, and that lets us in? Asked before mlflow is imported.

mlflow's own client waits four minutes for a server that is down, and takes an empty answer for any
other. One small request by the standard library, with a deadline over everything (name resolution,
each address, a reply that drips), tells it in seconds: refused, silent and broken servers, and what
is no MLflow server. Of a locked one mlflow's client may have the key: it knows a file of
credentials, plug-ins, netrc, signatures of AWS and client certificates.
"""

from __future__ import annotations

import base64
import math
import queue
import ssl
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from qgate.untrusted.json import NotJson, strict_json
from qgate.untrusted.text import seen

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_S = 20.0
"""Where MLFLOW_HTTP_REQUEST_TIMEOUT names none."""
_DRIP = 1.5
"""The deadline over everything, in timeouts."""
_MOST_BYTES = 1 << 20
_PATH = "/api/2.0/mlflow/experiments/search?max_results=1"
_TRUE = ("1", "true")
_LOGIN = ". Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or _TOKEN"
_HINTS: Mapping[int, str] = MappingProxyType(
    {401: _LOGIN, 403: _LOGIN, 404: ". Is this the address of an MLflow server?"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Why a server cannot be used."""

    reason: str
    """One line."""
    is_final: bool = True
    """False where mlflow's client may get in all the same."""


def find_outage(uri: str, environ: Mapping[str, str]) -> Outage | None:
    """Return why the server at `uri` cannot be used; None where it answers.

    Stores that are no http server are not asked: their first call fails at once. A server is waited
    for as long as mlflow's client will wait for each of its answers.
    """
    if urlsplit(uri).scheme not in ("http", "https"):
        return None
    timeout_s = _get_timeout_s(environ)
    answers: queue.SimpleQueue[Outage | None] = queue.SimpleQueue()
    # A daemon: resolving a name cannot be interrupted, and must not outlive the deadline.
    ask = threading.Thread(
        target=lambda: answers.put(_find_fault(uri, environ, timeout_s)), daemon=True
    )
    ask.start()
    try:
        return answers.get(timeout=_DRIP * timeout_s)
    except queue.Empty:
        return Outage(reason=f"no answer within {_DRIP * timeout_s:g} s")


def _get_timeout_s(environ: Mapping[str, str]) -> float:
    try:
        timeout_s = float(environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", _TIMEOUT_S))
    except ValueError:  # mlflow will say so
        return _TIMEOUT_S
    is_usable = math.isfinite(timeout_s) and 0 < timeout_s <= threading.TIMEOUT_MAX / _DRIP
    return timeout_s if is_usable else _TIMEOUT_S


def _find_fault(uri: str, environ: Mapping[str, str], timeout_s: float) -> Outage | None:
    try:
        unreadable = _find_unreadable(_ask(uri, environ, timeout_s))
    except urllib.error.HTTPError as error:
        reason = f"HTTP {error.code}{_HINTS.get(error.code, '')}"
        return Outage(reason=reason, is_final=error.code not in (401, 403))
    except TimeoutError:
        return Outage(reason=f"no answer within {timeout_s:g} s")
    except Exception as error:  # noqa: BLE001 - whatever a server says, it is an outage, not a crash
        return _describe(error, environ, timeout_s)
    return Outage(reason=unreadable) if unreadable else None


def _describe(error: Exception, environ: Mapping[str, str], timeout_s: float) -> Outage:
    """Whatever else ended the request; who asks for a client's certificate ends it in many ways."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    has_certificate = bool(environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"))
    is_about_ours = isinstance(cause, (ssl.SSLError, ConnectionResetError, BrokenPipeError))
    is_about_theirs = isinstance(cause, ssl.SSLCertVerificationError)
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, urllib.error.URLError):
        is_late = isinstance(cause, TimeoutError)
        said = str(getattr(cause, "strerror", None) or cause)
        reason = f"no connection within {timeout_s:g} s" if is_late else said
    return Outage(
        reason=reason, is_final=is_about_theirs or not (has_certificate and is_about_ours)
    )


def _ask(uri: str, environ: Mapping[str, str], timeout_s: float) -> bytes:
    request = _make_request(uri, environ)
    context = _make_context(environ) if request.type == "https" else None
    with urllib.request.urlopen(  # noqa: S310 - http and https only, see find_outage
        request, timeout=timeout_s, context=context
    ) as answer:
        body: bytes = answer.read(_MOST_BYTES + 1)
        return body


def _find_unreadable(body: bytes) -> str | None:
    """Any answer but MLflow's; its own is an object, an empty one where there is no experiment."""
    problem = f"got more than {_MOST_BYTES} bytes; expected a list of experiments"
    if not body.strip():
        problem = "got nothing; expected a list of experiments"
    elif len(body) <= _MOST_BYTES:
        try:
            answer = strict_json(body)
        except NotJson as error:
            problem = str(error)
        else:
            if isinstance(answer, dict) and isinstance(answer.get("experiments", []), list):
                return None
            problem = f"got {seen(answer)}; expected a list of experiments"
    return f"the server's answer is unreadable: {problem}. Is this the address of an MLflow server?"


def _make_request(uri: str, environ: Mapping[str, str]) -> urllib.request.Request:
    parts = urlsplit(uri)
    netloc = parts.netloc.rpartition("@")[2]
    base = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))
    request = urllib.request.Request(f"{base}{_PATH}")  # noqa: S310 - http and https only
    user = unquote(parts.username or "") or environ.get("MLFLOW_TRACKING_USERNAME")
    password = unquote(parts.password or "") or environ.get("MLFLOW_TRACKING_PASSWORD", "")
    token = environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        credentials = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        # unredirected: credentials are for this host and no other
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    elif token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return request


def _make_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """Trust what mlflow's client will trust: it goes by requests and certifi."""
    if environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in _TRUE:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    names = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    bundle = next((environ[name] for name in names if environ.get(name)), None)
    if bundle is None:
        import certifi

        bundle = certifi.where()
    return ssl.create_default_context(cafile=bundle)
