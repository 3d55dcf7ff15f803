"""GGUF headers: what is read, as the gguf package reads it, and what is never opened."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.artifacts.gguf.header import ArrayFacts, read_header
from qgate.artifacts.gguf.types import FILE_TYPES, GGML_TYPES
from qgate.errors import ArtifactError
from tests.support.gguf_bytes import ARCHITECTURE, gguf, key, tensor, text
from tests.support.stories260k import STORIES, needs_stories

if TYPE_CHECKING:
    from collections.abc import Callable


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    long = "x" * (2 << 20)
    path.write_bytes(
        gguf(
            keys=(
                key("u8", 0, b"\xff"),
                key("i8", 1, b"\xff"),
                key("f32", 6, struct.pack("<f", 0.5)),
                key("yes", 7, b"\x01"),
                key("u64", 10, struct.pack("<Q", 2**64 - 1)),
                key("f64", 12, struct.pack("<d", 1e300)),
                key("short", 9, struct.pack("<IQ3i", 5, 3, -1, 0, 7)),
                key("long", 9, struct.pack("<IQ", 0, 65) + bytes(65)),
                key("names", 9, struct.pack("<IQ", 8, 4) + b"".join(map(text, "abcd"))),
                key("none", 9, struct.pack("<IQ", 8, 0)),
                key("tokenizer.huggingface.json", 8, text(long)),
            )
        )
    )
    values = read_header(path).metadata
    assert [values[name] for name in ("u8", "i8", "f32", "yes", "u64", "f64", "short")] == [
        255,
        -1,
        0.5,
        True,
        2**64 - 1,
        1e300,
        (-1, 0, 7),
    ]
    assert (values["long"].element_type, values["long"].count) == ("uint8", 65)
    assert (values["names"].element_type, values["names"].first) == ("string", ("a", "b", "c"))
    assert values["none"].count == 0
    assert (values["tokenizer.huggingface.json"].element_type) == "byte"


def test_an_array_of_strings_is_known_by_its_bytes_wherever_the_window_cuts(tmp_path: Path) -> None:
    def facts(words: list[str]) -> ArrayFacts:
        path = tmp_path / "model.gguf"
        array = struct.pack("<IQ", 8, len(words)) + b"".join(map(text, words))
        path.write_bytes(gguf(keys=(key("words", 9, array), ARCHITECTURE)))
        header = read_header(path)
        assert header.metadata["general.architecture"] == "llama"
        value = header.metadata["words"]
        assert isinstance(value, ArrayFacts)
        return value

    words = [f"word {number}" * (number % 50) for number in range(20_000)]
    words[17] = "long" * 200_000
    assert facts(words).count == 20_000
    assert facts(words) == facts(words)
    assert facts(words).digest != facts([*words[:-1], "other"]).digest
    # the same letters, cut elsewhere
    assert facts(["ab", "c"]).digest != facts(["a", "bc"]).digest


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_fifo, "not a regular file. Refused unopened."),
        (Path.mkdir, "not a regular file. Refused unopened."),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file. Refused unopened."),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links."),
        (lambda path: None, "cannot be read: No such file or directory."),
    ],
    ids=["fifo", "directory", "device", "loop", "missing"],
)
def test_what_is_no_regular_file_is_never_opened(
    make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    make(path)
    with pytest.raises(ArtifactError) as refused:
        read_header(path)
    assert str(refused.value) == f"{path}: {reason}"


def test_a_header_the_size_of_qwens_takes_well_under_a_second(tmp_path: Path) -> None:
    words = [text(f"Ġtoken{number}") for number in range(151_936)]
    merges = [text(f"Ġmer ge{number}") for number in range(151_387)]
    types = struct.pack("<IQ", 5, len(words)) + bytes(4 * len(words))
    path = tmp_path / "model.gguf"
    path.write_bytes(
        gguf(
            keys=(
                ARCHITECTURE,
                key("tokens", 9, struct.pack("<IQ", 8, len(words)) + b"".join(words)),
                key("token_type", 9, types),
                key("merges", 9, struct.pack("<IQ", 8, len(merges)) + b"".join(merges)),
            ),
            tensors=(tensor(),),
            data=bytes(16),
        )
    )
    began = time.process_time()
    header = read_header(path)
    assert time.process_time() - began < 0.5
    counts = [v.count for v in header.metadata.values() if isinstance(v, ArrayFacts)]
    assert counts == [151_936, 151_936, 151_387]


@needs_stories
def test_whatever_bytes_change_in_a_real_file_the_only_error_is_ours(tmp_path: Path) -> None:
    reference = (STORIES / "stories260K-q4_0.gguf").read_bytes()
    header_bytes = read_header(STORIES / "stories260K-q4_0.gguf").tensors[0].offset
    rng = random.Random(20261123)
    path = tmp_path / "model.gguf"
    messages = []
    for round_ in range(1500):
        mutated = bytearray(reference)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(header_bytes)
            length = rng.choice((1, 1, 4, 8))
            mutated[at : at + length] = rng.choice(
                (rng.randbytes(length), b"\xff" * length, bytes(length))
            )
        if round_ % 5 == 0:
            del mutated[rng.randrange(len(mutated)) :]
        path.write_bytes(mutated)
        try:
            read_header(path)
        except ArtifactError as error:
            messages.append(str(error))
    assert 750 < len(messages) < 1500
    assert [message for message in messages if not message.isprintable()] == []


@needs_stories
@pytest.mark.parametrize("scheme", ["f32", "f16", "q8_0", "q5_0", "q4_0"])
def test_a_real_file_reads_as_the_gguf_package_reads_it(scheme: str) -> None:
    package = pytest.importorskip("gguf")
    path = STORIES / f"stories260K-{scheme}.gguf"
    header, oracle = read_header(path), package.GGUFReader(path)
    assert [(t.name, t.shape, t.type_name, t.n_bytes, t.offset) for t in header.tensors] == [
        (t.name, tuple(map(int, t.shape)), t.tensor_type.name, int(t.n_bytes), int(t.data_offset))
        for t in oracle.tensors
    ]
    keys = {name: value for name, value in oracle.fields.items() if not name.startswith("GGUF.")}
    assert header.metadata.keys() == keys.keys()
    for name, field in keys.items():
        ours, theirs = header.metadata[name], field.contents()
        if isinstance(ours, ArrayFacts):
            assert ours.count == len(theirs)
            assert list(ours.first) == [str(word) for word in theirs[: len(ours.first)]]
        else:
            assert ours == theirs


def test_types_are_those_of_the_gguf_package() -> None:
    constants = pytest.importorskip("gguf").constants
    theirs = {
        int(number): (number.name, *sizes) for number, sizes in constants.GGML_QUANT_SIZES.items()
    }
    ours = {n: (t.name, t.block_elements, t.block_bytes) for n, t in GGML_TYPES.items()}
    # gguf 0.19 counts 4 + 4 + 32 bytes for Q8_1, ggml-common.h 2 + 2 + 32; no file holds it
    del theirs[9], ours[9]
    assert ours | theirs == ours
    assert set(ours) - set(theirs) <= {42}


def test_file_types_are_those_of_the_gguf_package() -> None:
    constants = pytest.importorskip("gguf").constants
    theirs = {
        int(number): number.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for number in constants.LlamaFileType
        if number.name != "GUESSED"
    }
    assert FILE_TYPES | theirs == dict(FILE_TYPES)
    assert set(FILE_TYPES) - set(theirs) <= {41}
