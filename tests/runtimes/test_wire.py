"""What parent and child may say to each other: data, and nothing but data."""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from qgate.errors import RuntimeFailed
from qgate.runtimes import wire
from qgate.runtimes.base import Span
from qgate.runtimes.messages import Answers

ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([0.1, -1e300, np.inf, np.nan]),
    np.array([[1, -2], [3, 2**31 - 1]], dtype=np.int32),
    np.array([2**62, -(2**62)]),
    np.array([True, False, True]),
    np.arange(256, dtype=np.uint8),
    np.zeros((0, 5), dtype=np.float32),
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    np.arange(20, dtype=np.int32)[::3],
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_arrives_as_it_was(array: np.ndarray) -> None:
    arrived = wire.decode(wire.encode({"args": {"array": array}}))["args"]["array"]

    assert arrived.dtype == array.dtype
    assert arrived.shape == array.shape
    assert arrived.tobytes() == array.tobytes()


def test_a_message_is_one_line_whatever_its_text_holds() -> None:
    message = {
        "id": 1,
        "result": {"text": "two\nlines\r\u2028, é, \ud800", "none": None, "list": []},
    }

    line = wire.encode(message)

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert wire.decode(line) == message


def array(dtype: object = "<f4", shape: object = (1,), data: object = "AAAAAA==") -> bytes:
    return json.dumps({"a": {"__array__": dtype, "shape": shape, "base64": data}}).encode()


UNREADABLE = {
    "nothing": b"",
    "text": b"Segmentation fault\n",
    "half a message": b'{"id": 1, "resu',
    "bytes that are not text": b'{"id": "\xff\xfe"}',
    "a number": b"1e999",
    "a list": b'[{"id": 1}]',
    "an array for a message": b'{"__array__": "<f4", "shape": [1], "base64": "AAAAAA=="}',
    "bottomless": b'{"a":' * 100_000,
    "objects": array("|O", (1,), "AAAAAAAAAAA="),
    "records": array([["a", "<f4"]]),
    "structure": array("f4,f4", (1,), "AAAAAAAAAAA="),
    "text of numpy": array("<U1"),
    "dates": array("<M8[s]", (1,), "AAAAAAAAAAA="),
    "the other byte order": array(">f4"),
    "no dtype": array(None),
    "a dtype without end": array("|b" + 5000 * "1"),
    "a shape without end": array(shape=(1,) * 5000),
    "too few bytes": array(shape=(2,)),
    "too many bytes": array(data="AAAAAAAAAAA="),
    "negative": array(shape=(-1,)),
    "twice negative": array(shape=(-1, -1)),
    "fractions": array(shape=(1.5,)),
    "infinitely long": b'{"a": {"__array__": "<f4", "shape": [1e999], "base64": ""}}',
    "longer than memory, yet empty": array(shape=(2**70, 0), data=""),
    "shape that is text": array(shape="1"),
    "shape that is nothing": array(shape=None),
    "65 dimensions": array(shape=[1] * 65),
    "not base64": array(data="****"),
    "base64 that is a number": array(data=5),
    "no shape": b'{"a": {"__array__": "<f4", "base64": "AAAAAA=="}}',
}


@pytest.mark.parametrize("line", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_not_a_message_is_refused_in_one_line(line: bytes) -> None:
    with pytest.raises(RuntimeFailed, match=r"^runtime: unreadable answer: got b'") as caught:
        wire.decode(line)

    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    witness = tmp_path / "was-run"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (witness,))

    payload = pickle.dumps(np.array([Payload()], dtype=object))
    text = base64.b64encode(payload).decode()
    for line in (payload, payload + b"\n", array("|O", (1,), text), array("object", (1,), text)):
        with pytest.raises(RuntimeFailed):
            wire.decode(line)

    assert not witness.exists()
    pickle.loads(payload)  # the payload does run where somebody unpickles it
    assert witness.exists()


def test_what_has_no_place_in_a_message_is_not_sent() -> None:
    with pytest.raises(TypeError, match=r"^cannot send a set"):
        wire.encode({"ids": {1, 2}})


def test_objects_do_not_leave_either() -> None:
    with pytest.raises(RuntimeFailed, match=r"array of '\|O'"):
        wire.decode(wire.encode({"a": np.array([None], dtype=object)}))


IDS = np.array([1, 5], dtype=np.int32)
ANSWERS = Answers(ids=(IDS, IDS[:0]), ends=IDS, texts=("a", ""), margins_nats=(np.ones(2), IDS[:0]))
WRONG = {
    "a field more": {"more": 1},
    "a field less": {"ids": None},
    "no arrays": {"ids": [[1], [2]]},
    "an array for texts": {"texts": IDS},
    "one text for texts": {"texts": "ab"},
    "numbers for texts": {"texts": [1, 2]},
    "an array of no dimension": {"ends": {"__array__": "<i4", "shape": [], "base64": "AwAAAA=="}},
}


def sent(value: object) -> object:
    return wire.decode(wire.encode({"value": value}))["value"]


def test_an_answer_is_made_again_of_what_arrives() -> None:
    found = wire.read(Answers, sent(ANSWERS))

    assert [one.tolist() for one in found.ids] == [[1, 5], []]
    assert found.texts == ("a", "")
    assert found.margins_nats[0].dtype == np.float64


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_an_answer_of_another_shape_is_refused(change: dict[str, object]) -> None:
    merged = {**dataclasses.asdict(ANSWERS), **change}
    value = {name: one for name, one in merged.items() if one is not None}

    with pytest.raises((AttributeError, KeyError, TypeError)):
        wire.read(Answers, sent(value))


@pytest.mark.parametrize(
    ("kind", "value"), [(Literal["a", "b"], "c"), (int, True), (float, False), (int, 1.5)]
)
def test_a_value_of_another_kind_is_refused(kind: object, value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^got "):
        wire.read(kind, sent(value))


def test_a_number_of_numpy_is_sent_as_a_number() -> None:
    assert sent([np.int64(3), np.float32(0.5)]) == [3, 0.5]


def test_what_a_piece_is_called_stays_here() -> None:
    span = Span(ids=IDS, first=0, name="item 1")

    assert wire.read(tuple[Span, ...], sent([span]))[0].name == ""
