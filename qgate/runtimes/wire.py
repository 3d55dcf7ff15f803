"""How parent and child talk: one JSON object a line, arrays as base64 inside it.

Data only. Nothing that a child sends can name a class or a function, so a runtime that was taken
over by a hostile artifact can lie about numbers but not run anything in the parent.

    request   {"id": 1, "verb": "score", "args": {...}}
    answers   {"id": 1, "progress": {"what": "scoring", "done": 3, "total": 64}}   any number;
              `"at": [3, 7]` beside them: pieces 3 to 6 are with the model from now on
              {"id": 1, "result": {...}}  or  {"id": 1, "error": {"kind": ..., "message": ...}}
    heartbeat {"alive": true}
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from qgate.errors import RuntimeFailed

MAX_LINE_BYTES = 512 * 1024 * 1024
"""Longer than any answer: 64 windows of 512 tokens are about 1 MB."""

_MARK = "__array__"
_DTYPES = frozenset({"<f4", "<f8", "<i4", "<i8", "|b1", "|u1"})


def encode(message: dict[str, Any]) -> bytes:
    """One line, arrays included."""
    return json.dumps(message, default=_array_to_json, ensure_ascii=True).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The inverse of `encode`.

    Raises:
        RuntimeFailed: where the line is not what a worker of this version sends.
    """
    try:
        message = json.loads(line, object_hook=_array_from_json)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RuntimeFailed(f"runtime: unreadable answer: got {line[:80]!r} ({error})") from error
    if not isinstance(message, dict):
        raise RuntimeFailed(f"runtime: unreadable answer: got {line[:80]!r}; expected an object")
    return message


def _array_to_json(value: object) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"cannot send a {type(value).__name__}")
    flat = np.ascontiguousarray(value)
    return {
        _MARK: flat.dtype.str,
        "shape": list(flat.shape),
        "base64": base64.b64encode(flat.tobytes()).decode(),
    }


def _array_from_json(value: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever JSON holds
    if _MARK not in value:
        return value
    dtype, shape = value[_MARK], value["shape"]
    if dtype not in _DTYPES:
        raise ValueError(f"array of {dtype!r}; expected one of {sorted(_DTYPES)}")
    data = base64.b64decode(value["base64"], validate=True)
    count = math.prod(int(size) for size in shape)
    if min(shape, default=0) < 0 or count * np.dtype(dtype).itemsize != len(data):
        raise ValueError(f"array of shape {shape} in {len(data)} bytes")
    return np.frombuffer(data, dtype=dtype).reshape(shape)
