"""How parent and child talk: one JSON object a line, arrays as base64 inside it.

A dataclass goes as its fields, but for those that are no part of what it says (`compare=False`);
`read` makes one of them again.

Data only. Nothing that a child sends can name a class or a function, so a runtime that was taken
over by a hostile artifact can lie about numbers but not run anything in the parent.

    request   {"id": 1, "verb": "score", "args": ...}
    answers   {"id": 1, "progress": {"what": "scoring", "done": 3, "total": 64}}   any number;
              `"at": [3, 7]` beside them: pieces 3 to 6 are with the model from now on
              {"id": 1, "result": ...}  or  {"id": 1, "error": {"kind": ..., "message": ...}}
    heartbeat {"alive": true}
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from qgate.errors import RuntimeFailed
from qgate.runtimes import base

_MARK = "__array__"
_LONGEST_REASON = 300
_DTYPES = frozenset({"<f4", "<f8", "<i4", "<i8", "|b1", "|u1"})


def encode(message: dict[str, Any]) -> bytes:
    """One line; dataclasses and arrays anywhere in the message."""
    return json.dumps(message, default=_to_json, ensure_ascii=True).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The inverse of `encode`.

    Raises:
        RuntimeFailed: where the line is not what a worker of this version sends.
    """
    try:
        message = json.loads(line, object_hook=_array_from_json)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why = str(error)[:_LONGEST_REASON]  # it may quote what the child made as long as it liked
        raise RuntimeFailed(f"runtime: unreadable answer: got {line[:80]!r} ({why})") from error
    if not isinstance(message, dict):
        raise RuntimeFailed(f"runtime: unreadable answer: got {line[:80]!r}; expected an object")
    return message


def read(kind: Any, value: Any) -> Any:  # noqa: ANN401 - of that kind
    """What was encoded as a value of this type.

    Args:
        kind: a dataclass, a type of JSON, a `Literal` or an array of one dimension or more,
            `X | None`, or `tuple[X, ...]` of such; `object` and mappings are taken as they are.
        value: decoded.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is of another type.
    """
    parts = get_args(kind)
    if kind is None or (value is None and NoneType in parts):
        return None
    if get_origin(kind) in (UnionType, Union):
        return read(parts[0], value)
    if get_origin(kind) is Literal:
        if value not in parts:
            raise ValueError(f"got {str(value)[:80]!r}; expected one of {parts}")
        return value
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(read(parts[0], one) for one in value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if isinstance(value, kind):
            return value
        hints = _hints(kind)
        return kind(**{name: read(hints[name], one) for name, one in value.items()})
    plain = get_origin(kind) or kind
    if isinstance(value, bool) and plain in (int, float):
        raise TypeError(f"got a bool; expected {plain.__name__}")
    if isinstance(value, np.ndarray) and not value.ndim:
        raise TypeError("got an array of no dimension; expected one or more")
    if isinstance(plain, type) and not isinstance(value, (plain, int) if plain is float else plain):
        raise TypeError(f"got {type(value).__name__}; expected {plain.__name__}")
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    # what its module imports for type checkers only
    return get_type_hints(kind, localns={**vars(base), "np": np, "Mapping": Mapping})


def _to_json(value: Any) -> Any:  # noqa: ANN401 - what json cannot write by itself
    if isinstance(value, np.ndarray):
        return _array_to_json(value)
    if dataclasses.is_dataclass(value):
        sent = (one.name for one in dataclasses.fields(value) if one.compare)
        return {name: getattr(value, name) for name in sent}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.integer | np.floating):
        return value.item()
    raise TypeError(f"cannot send a {type(value).__name__}")


def _array_to_json(value: np.ndarray) -> dict[str, Any]:
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
