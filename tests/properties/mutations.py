"""Strategies that take something sound and make a few things in it wrong."""

from __future__ import annotations

import copy
import json
import struct
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

_COUNTS = (0, 1, 2, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
_TEXTS = ("", " ", "\0", "\n", "\x1b[2J", "\ud800", "../..", "/etc/passwd", "é" * 300, "1e999")
_DEPTH = 3000


def require_one_line(error: Exception) -> None:
    """What a user is shown is a line, and not a book."""
    message = str(error)
    assert message
    assert message.isprintable()
    assert len(message) < 2000


def numbers() -> SearchStrategy[int | float]:
    """Small, huge, negative and not finite ones."""
    odd = (-1, 10**30, -(10**400), 1e308, 5e-324, -0.0, float("nan"), float("inf"), -float("inf"))
    return st.one_of(st.sampled_from((*_COUNTS, *odd)), st.integers(), st.floats())


def values() -> SearchStrategy[Any]:
    """JSON of any kind that is seldom what is expected."""
    leaves = st.one_of(
        st.none(), st.booleans(), numbers(), st.sampled_from(_TEXTS), st.text(max_size=12)
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=8,
    )


@st.composite
def changed_values(draw: DrawFn, sound: Any) -> Any:
    """Sound JSON with one to four of its values replaced, dropped, doubled, renamed or nested."""
    whole = [copy.deepcopy(sound)]
    for _ in range(draw(st.integers(1, 4))):
        holder, key = draw(st.sampled_from(list(_places(whole))))
        how = draw(st.integers(0, 5))
        if how <= 2:
            holder[key] = draw(values())
        elif how == 3 and holder is not whole:
            del holder[key]
        elif how == 4 and isinstance(holder, dict):
            holder[draw(st.one_of(st.sampled_from(sorted(holder)), st.text(max_size=8)))] = holder[
                key
            ]
        else:
            holder[key] = [holder[key]] * draw(st.integers(0, 3))
    return whole[0]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each place in JSON as its container and its key."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found: list[tuple[Any, Any]] = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


@st.composite
def changed_json(draw: DrawFn, sound: Any) -> bytes:
    """The text of changed JSON, which may have a key twice, nest deep, or be cut."""
    text = json.dumps(draw(changed_values(sound)), ensure_ascii=draw(st.booleans()))
    raw = text.encode(errors="surrogatepass")
    how = draw(st.integers(0, 9))
    if how == 0:
        return draw(changed_bytes(raw))
    if how == 1:
        at = draw(st.integers(0, len(raw)))
        opening = draw(st.sampled_from((b"[", b'{"a":', b"[{")))
        return raw[:at] + opening * _DEPTH + raw[at:]
    if how == 2:
        key = json.dumps(draw(st.sampled_from(sorted(sound)))) if isinstance(sound, dict) else '"a"'
        return raw.replace(b"{", f"{{{key}: 1, {key}: 2, ".encode(), 1)
    if how == 3:
        return raw.replace(b"1", b"1" * draw(st.sampled_from((400, 5000))), 1)
    return raw


@st.composite
def changed_bytes(draw: DrawFn, sound: bytes) -> bytes:
    """Sound bytes with up to six changes: of a byte, a length, a piece."""
    raw = bytearray(sound)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(raw)))
        change = draw(st.sampled_from(_CHANGES))
        raw = bytearray(change(draw, bytes(raw), at))
    return bytes(raw)


def _set_byte(draw: DrawFn, raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([draw(st.integers(0, 255))]) + raw[at + 1 :]


def _set_length(draw: DrawFn, raw: bytes, at: int) -> bytes:
    form = draw(st.sampled_from(("<I", "<Q")))
    number = draw(st.sampled_from(_COUNTS)) % 2 ** (8 * struct.calcsize(form))
    return raw[:at] + struct.pack(form, number) + raw[at + struct.calcsize(form) :]


def _cut(_: DrawFn, raw: bytes, at: int) -> bytes:
    return raw[:at]


def _drop(draw: DrawFn, raw: bytes, at: int) -> bytes:
    return raw[:at] + raw[at + draw(st.integers(1, 16)) :]


def _repeat(draw: DrawFn, raw: bytes, at: int) -> bytes:
    stop = at + draw(st.integers(1, 32))
    return raw[:stop] + raw[at:stop] * draw(st.integers(1, 3)) + raw[stop:]


def _insert(draw: DrawFn, raw: bytes, at: int) -> bytes:
    return raw[:at] + draw(st.binary(max_size=16)) + raw[at:]


_CHANGES: Sequence[Callable[[DrawFn, bytes, int], bytes]] = (
    _set_byte,
    _set_length,
    _cut,
    _drop,
    _repeat,
    _insert,
)
