"""Corrupt and hostile safetensors headers: refused by name and reason, with one kind of error."""

from __future__ import annotations

import json
import random
import struct
import time
from pathlib import Path

import pytest

import qgate
from qgate.artifacts.hf.safetensors import read_header
from qgate.errors import ArtifactError
from tests.support.safetensors_files import entry, raw

MODEL = Path(qgate.__file__).parent / "demo" / "model" / "model.safetensors"
EIGHT = bytes(8)

CORRUPT = {
    "empty": (b"", "the file is empty. Download it again."),
    "three bytes": (b"abc", "got 3 bytes; expected a header of 8 or more."),
    "git lfs": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer or text, not a model. Run: git lfs pull",
    ),
    "a pickle": (
        b"PK\x03\x04\x14\x00\x00\x00" + bytes(20),
        "length of the header: got 85966670672"
        " bytes; expected <= 100000000. Not a safetensors file, or a hostile one.",
    ),
    "header beyond the file": (
        raw({}, length=3),
        "the header ends at byte 11; the file has 10 bytes. Download it again.",
    ),
    "not an object": (raw([]), "header: got '[]' at its beginning; expected '{'."),
    "not JSON": (raw(b"{]"), "not JSON: got 'Expecting property name enclosed in double quotes'"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not UTF-8: got byte 0xff; expected UTF-8 text."),
    "NaN": (raw(b'{"a": NaN}'), "not JSON: got NaN; expected finite numbers."),
    "a name twice": (
        raw(b'{"a": {"dtype": "F32"}, "a": {}}'),
        "not JSON: got the key 'a' twice; expected every key once.",
    ),
    "a million values": (
        raw(b'{"a":[' + b"0," * (1 << 20) + b"0]}"),
        "too many values: got 1048578 brackets and commas; expected <= 1048576.",
    ),
    "nested too deep": (raw(b'{"a":' + b"[" * 100_000), "not JSON: got too many levels"),
    "metadata of numbers": (
        raw({"__metadata__": {"a": 1}}),
        "__metadata__: expected texts by name.",
    ),
    "metadata no object": (raw({"__metadata__": []}), "__metadata__: expected texts by name."),
    "no name": (
        raw({"": entry()}, EIGHT),
        "tensor '': name: got 0 characters; expected 1 to 4096.",
    ),
    "no entry": (
        raw({"a": 1}),
        "tensor 'a': expected dtype, shape and data_offsets, nothing else.",
    ),
    "unknown key": (
        raw({"a": entry(more=1)}, EIGHT),
        "tensor 'a': expected dtype, shape and data_offsets, nothing else.",
    ),
    "unknown dtype": (
        raw({"a": entry("F7\x1b[31m")}, EIGHT),
        "tensor 'a': unknown dtype: got 'F7\\x1b[31m'; expected one of the format's.",
    ),
    "dtype no text": (
        raw({"a": entry(["F32"])}, EIGHT),  # type: ignore[arg-type]  # the lie
        "tensor 'a': unknown dtype: got no text; expected one of the format's.",
    ),
    "negative shape": (
        raw({"a": entry(shape=[-2])}, EIGHT),
        "tensor 'a': shape: expected whole numbers, <= 2^63 - 1 elements.",
    ),
    "shape of booleans": (
        raw({"a": entry(shape=[True, 2])}, EIGHT),
        "tensor 'a': shape: expected whole numbers, <= 2^63 - 1 elements.",
    ),
    "shape overflows": (
        raw({"a": entry(shape=[2**40, 2**40])}, EIGHT),
        "tensor 'a': shape: expected whole numbers, <= 2^63 - 1 elements.",
    ),
    "17 dimensions": (
        raw({"a": entry(shape=[1] * 17)}, EIGHT),
        "tensor 'a': shape: expected whole numbers, <= 2^63 - 1 elements.",
    ),
    "offsets the wrong way": (
        raw({"a": entry(offsets=[8, 0])}, EIGHT),
        "tensor 'a': data_offsets: expected where it begins and ends.",
    ),
    "length not the shape's": (
        raw({"a": entry(shape=[3])}, EIGHT),
        "tensor 'a': got 8 bytes; expected the 12 of F32 3.",
    ),
    "half a byte": (
        raw({"a": entry("F4", [3], [0, 1])}, b"\0"),
        "tensor 'a': got 1 bytes; expected the 1.5 of F4 3.",
    ),
    "file too short": (
        raw({"a": entry()}, bytes(7)),
        "tensor 'a' ends at byte 77; the file has 76 bytes. Download it again.",
    ),
    "file too long": (
        raw({"a": entry()}, bytes(9)),
        "the last tensor ends at byte 77; the file has 78 bytes. Download it again.",
    ),
    "offset far outside": (
        raw({"a": entry(offsets=[2**62, 2**62 + 8])}, EIGHT),
        "tensor 'a' ends at byte 4611686018427388017; the file has 113 bytes",
    ),
    "a hole": (
        raw({"a": entry(), "b": entry(offsets=[16, 24])}, bytes(24)),
        "tensor 'b': its data begin elsewhere: got byte 148; expected 140, right after the one "
        "before.",
    ),
    "a hole at the beginning": (
        raw({"a": entry(offsets=[8, 16])}, bytes(16)),
        "tensor 'a': its data begin elsewhere: got byte 78; expected 70, right after the one "
        "before.",
    ),
    "two tensors in one place": (
        raw({"a": entry(), "b": entry()}, EIGHT),
        "tensor 'b': its data begin elsewhere: got byte 130; expected 138, right after the one "
        "before.",
    ),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_header_is_refused_by_its_reason(name: str, tmp_path: Path) -> None:
    content, reason = CORRUPT[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as refused:
        read_header(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: {reason}")
    assert message.isprintable()


def test_any_damage_to_a_real_header_is_our_error_or_none(tmp_path: Path) -> None:
    rng = random.Random(0)
    sound = MODEL.read_bytes()
    (length,) = struct.unpack("<Q", sound[:8])
    messages, path = [], tmp_path / "model.safetensors"
    for _ in range(600):
        head = bytearray(sound[: 8 + length])
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            head[rng.randrange(len(head))] = rng.randrange(256)
        if rng.random() < 0.2:
            del head[rng.randrange(8, len(head)) :]
        path.write_bytes(head)
        with path.open("r+b") as file:
            file.truncate(len(sound))  # sparse: the data are not looked at
        try:
            read_header(path)
        except ArtifactError as error:
            messages.append(str(error))
    assert len(messages) > 500
    assert all(message.isprintable() for message in messages)


def test_exchanged_values_of_a_real_header_are_our_error_or_none(tmp_path: Path) -> None:
    rng = random.Random(1)
    sound = MODEL.read_bytes()
    (length,) = struct.unpack("<Q", sound[:8])
    strange = [None, -1, 2**70, 1.5, True, "F32", "", [], {}, [0], [0, 2**64], {"a": []}, "\ud800"]
    path, n_refused = tmp_path / "model.safetensors", 0
    for _ in range(200):
        header = json.loads(sound[8 : 8 + length])
        name = rng.choice(list(header))
        if rng.random() < 0.2 or name == "__metadata__":
            header[name] = rng.choice(strange)
        else:
            header[name][rng.choice(["dtype", "shape", "data_offsets"])] = rng.choice(strange)
        path.write_bytes(raw(header))
        with path.open("r+b") as file:
            file.truncate(len(sound))
        with pytest.raises(ArtifactError):
            read_header(path)
        n_refused += 1
    assert n_refused == 200


def test_a_header_of_a_hundred_megabytes_is_refused_in_no_time(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 100_000_001) + b"{")
    with path.open("r+b") as file:
        file.truncate(200_000_000)
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="length of the header: got 100000001 bytes"):
        read_header(path)
    assert time.monotonic() - began < 1.0


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"not a regular file\. Refused unopened"):
        read_header(tmp_path)
    with pytest.raises(ArtifactError, match="cannot be read: No such file"):
        read_header(tmp_path / "absent")
