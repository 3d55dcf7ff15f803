"""Is there an MLflow server that answers, and that lets us in? Asked before mlflow is imported.

mlflow's own client waits four minutes for a server that is down. One small request by the standard
library, with a deadline over everything (name resolution, each address, a reply that drips), tells
it in seconds: refused, silent, broken and locked servers alike.
"""

from __future__ import annotations

import base64
import queue
import ssl
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOCKET_TIMEOUT_S = 2.0
_DEADLINE_S = 3.0
_PATH = "/api/2.0/mlflow/experiments/search?max_results=1"
_TRUE = ("1", "true")


def find_outage(uri: str, environ: Mapping[str, str]) -> str | None:
    """Return why the server at `uri` cannot be used, in one line; None where it answers.

    Stores that are no http server are not asked: their first call fails at once.
    """
    if urlsplit(uri).scheme not in ("http", "https"):
        return None
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    # A daemon: resolving a name cannot be interrupted, and must not outlive the deadline.
    ask = threading.Thread(target=lambda: answers.put(_ask(uri, environ)), daemon=True)
    ask.start()
    try:
        return answers.get(timeout=_DEADLINE_S)
    except queue.Empty:
        return f"no answer within {_DEADLINE_S:g} s"


def _ask(uri: str, environ: Mapping[str, str]) -> str | None:
    try:
        request = _make_request(uri, environ)
        context = _make_context(environ) if request.type == "https" else None
        with urllib.request.urlopen(  # noqa: S310 - http and https only, see find_outage
            request, timeout=_SOCKET_TIMEOUT_S, context=context
        ) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        hints = {
            401: ". Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or _TOKEN",
            404: ". Is this the address of an MLflow server?",
        }
        return f"HTTP {error.code}{hints.get(error.code, '')}"
    except TimeoutError:
        return f"no answer within {_SOCKET_TIMEOUT_S:g} s"
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return f"no connection within {_SOCKET_TIMEOUT_S:g} s"
        reason = error.reason
        return str(getattr(reason, "strerror", None) or reason)
    except Exception as error:  # noqa: BLE001 - whatever a server says, it is an outage, not a crash
        return f"{type(error).__name__}: {error}"
    return None


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
