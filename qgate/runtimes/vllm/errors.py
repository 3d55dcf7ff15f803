"""What vLLM raises, as qgate's own errors: its own reason, in one line.

vLLM has few exception classes of its own; what a refusal is about stands in its words. It raises
`ValueError` for a scheme that it does not know and for weights that do not fit, and a missing
kernel shows when it is first called.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from qgate.errors import (
    ArtifactError,
    MeasurementError,
    QGateError,
    RuntimeFailed,
    RuntimeUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_CHARACTERS = 200
_PYDANTIC = re.compile(r"validation errors? for .*?(?:Value error|Assertion failed), (.*?) \[type=")
_NO_ROOM = re.compile(r"KV cache|kv cache|kv-cache", re.IGNORECASE)
_UNKNOWN_KERNEL = re.compile(r"_OpNamespace|\b_C::|no kernel|[Kk]ernel .*(?:not|fail)|NoKernel")
_DEVICE_FAILED = re.compile(r"CUDA error|out of memory", re.IGNORECASE)
_NOT_SERVED = re.compile(
    r"quantization method|not (?:yet |currently )?(?:supported|implemented|available)|unsupported"
    r"|does not support|doesn't support|only support|compute capability|minimum capability"
    r"|requires? (?:a |an )?(?:GPU|CUDA|triton|package)|Torch not compiled|pip install"
    r"|Failed to find a kernel|not installed|importlib|architectures",
    re.IGNORECASE,
)


@contextlib.contextmanager
def while_loading() -> Iterator[None]:
    """Translate what an engine's start raises.

    Raises:
        RuntimeUnavailable: this build, on this machine, does not serve such an artifact.
        ArtifactError: the artifact is at fault.
        RuntimeFailed: out of memory, or the device failed.
    """
    try:
        yield
    except QGateError:
        raise
    except Exception as error:
        raise _failure(error) or _refusal(error) or _bad_artifact(error) from error


@contextlib.contextmanager
def while_running() -> Iterator[None]:
    """Translate what a request raises.

    Raises:
        RuntimeUnavailable: a kernel that the artifact needs is not in this build.
        MeasurementError: vLLM refuses the request.
        RuntimeFailed: anything else.
    """
    try:
        yield
    except QGateError:
        raise
    except Exception as error:
        if type(error).__name__ == "VLLMValidationError" or isinstance(error, ValueError):
            raise MeasurementError(f"vllm refuses a request: {one_line(error)}") from error
        found = _failure(error) or _refusal(error) or RuntimeFailed(f"vllm: {one_line(error)}")
        raise found from error


def one_line(error: BaseException) -> str:
    """The reason without pydantic's frame, cut where nobody reads on."""
    text = " ".join(str(error).split()) or type(error).__name__
    framed = _PYDANTIC.search(text)
    reason = (framed[1] if framed else text).rstrip(".")
    return reason if len(reason) <= _MOST_CHARACTERS else f"{reason[:_MOST_CHARACTERS]}..."


def _failure(error: Exception) -> RuntimeFailed | None:
    """Of the machine, whatever it served: torch's OutOfMemoryError is a RuntimeError."""
    if isinstance(error, MemoryError):
        return RuntimeFailed("vllm: out of memory")
    if _DEVICE_FAILED.search(str(error)) and not _NO_ROOM.search(str(error)):
        return RuntimeFailed(f"vllm: {one_line(error)}")
    return None


def _refusal(error: Exception) -> RuntimeUnavailable | None:
    text, reason = str(error), one_line(error)
    if _NO_ROOM.search(text):
        return RuntimeUnavailable(
            f"vllm: no room for its KV cache: {reason}."
            " Set runtimes: {vllm: {kv_cache_gib: ...}}"
        )
    elsewhere = "Serve it with --qgate-runtime=transformers, or where vLLM has a GPU"
    if _UNKNOWN_KERNEL.search(text):
        return RuntimeUnavailable(
            f"vllm has no kernel for this artifact in this build, on this machine: {reason}."
            f" {elsewhere}"
        )
    if isinstance(error, ImportError | NotImplementedError) or _NOT_SERVED.search(text):
        return RuntimeUnavailable(f"vllm does not serve this artifact: {reason}. {elsewhere}")
    return None


def _bad_artifact(error: Exception) -> ArtifactError:
    name = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
    return ArtifactError(f"vllm refuses the model: {name}{one_line(error)}")
