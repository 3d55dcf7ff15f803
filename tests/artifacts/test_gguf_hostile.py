"""Corrupt and hostile GGUF headers: refused by name and reason, in little time and memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from qgate.artifacts.gguf.header import read_header
from qgate.errors import ArtifactError
from tests.support.gguf_bytes import ARCHITECTURE, SOUND, gguf, key, tensor, text

NESTED = struct.pack("<IQ", 9, 1) * 3000

CORRUPT = {
    "empty": (b"", "the file is empty. Download it again."),
    "four bytes": (
        b"GGUF",
        "the version would end at byte 8; the file has 4 bytes. Download it again.",
    ),
    "three bytes": (b"GGU", "not a GGUF file: got 'GGU' at its beginning; expected 'GGUF'."),
    "magic": (b"\x1b[31", "not a GGUF file: got '\\x1b[31' at its beginning; expected 'GGUF'."),
    "git lfs": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer or text, not a model. Run: git lfs pull",
    ),
    "version 0": (gguf(version=0), "GGUF version: got 0; expected 2 or 3."),
    "version 1": (gguf(version=1), "GGUF version: got 1; expected 2 or 3."),
    "version 99": (gguf(version=99), "GGUF version: got 99; expected 2 or 3."),
    "big endian": (
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "a big-endian GGUF file: expected little-endian. Convert it again.",
    ),
    "2^63 tensors": (
        gguf(counts=(2**63, 0)),
        "number of tensors: got 9223372036854775808; expected <= 65536.",
    ),
    "1e9 keys": (
        gguf(counts=(0, 10**9)),
        "number of metadata keys: got 1000000000; expected <= 8192.",
    ),
    "5000 tensors in 24 bytes": (
        gguf(counts=(5000, 0)),
        "number of tensors: got 5000; the file has 24 bytes. Download it again.",
    ),
    "8000 keys in 24 bytes": (
        gguf(counts=(0, 8000)),
        "number of metadata keys: got 8000; the file has 24 bytes. Download it again.",
    ),
    "empty key": (gguf(keys=(key("", 8, text("x")),)), "metadata key 0 is empty."),
    "duplicate key": (
        gguf(keys=(ARCHITECTURE, ARCHITECTURE)),
        "duplicate metadata key 'general.architecture'.",
    ),
    "key not UTF-8": (
        gguf(keys=(key(b"ab\xff", 8, text("x")),)),
        "metadata key 0 is not UTF-8: got byte 0xff at 2.",
    ),
    "value not UTF-8": (
        gguf(keys=(key("general.name", 8, text(b"\xc3\x28")),)),
        "the value of 'general.name' is not UTF-8: got byte 0xc3 at 0.",
    ),
    "key of 2^40 bytes": (
        gguf(keys=(struct.pack("<Q", 2**40) + bytes(64),)),
        "metadata key 0 is too long: got 1099511627776 bytes; expected <= 65535.",
    ),
    "string of 2^40 bytes": (
        gguf(keys=(key("general.name", 8, struct.pack("<Q", 2**40)),)),
        "the value of 'general.name' would end at byte 1099511627832; the file has 56 bytes. "
        "Download it again.",
    ),
    "value of unknown type": (
        gguf(keys=(key("a\x1b[2J\n", 13, bytes(8)),)),
        "the value of 'a\\x1b[2J\\n' has an unknown type: got 13; expected 0 to 12.",
    ),
    "array of 1e9 strings": (
        gguf(keys=(key("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 10**9)),)),
        "the value of 'tokenizer.ggml.tokens' would end at byte 8000000069; the file has 69 bytes. "
        "Download it again.",
    ),
    "array of 2^62 numbers": (
        gguf(keys=(key("x", 9, struct.pack("<IQ", 4, 2**62)),)),
        "the value of 'x' would end at byte 18446744073709551665; the file has 49 bytes. "
        "Download it again.",
    ),
    "array element of 2^63 bytes": (
        gguf(keys=(key("x", 9, struct.pack("<IQQ", 8, 1, 2**63)),)),
        "the value of 'x': an element would end at byte 9223372036854775857; "
        "the file has 57 bytes. Download it again.",
    ),
    "array of unknown type": (
        gguf(keys=(key("x", 9, struct.pack("<IQ", 77, 1)),)),
        "the value of 'x' has an unknown element type: got 77; expected 0 to 12.",
    ),
    "3000 nested arrays": (
        gguf(keys=(key("x", 9, NESTED),)),
        "the value of 'x' is an array of arrays. Refused, as llama.cpp does.",
    ),
    "alignment 0": (
        gguf(keys=(key("general.alignment", 4, struct.pack("<I", 0)),)),
        "general.alignment: got 0; expected a power of two.",
    ),
    "alignment 24": (
        gguf(keys=(key("general.alignment", 4, struct.pack("<I", 24)),)),
        "general.alignment: got 24; expected a power of two.",
    ),
    "alignment as text": (
        gguf(keys=(key("general.alignment", 8, text("32")),)),
        "general.alignment: got value type 8; expected 4 (uint32).",
    ),
    "alignment 2^31": (
        gguf(
            keys=(key("general.alignment", 4, struct.pack("<I", 2**31)),),
            tensors=(tensor(),),
            data=bytes(16),
        ),
        "tensor 'w' ends at byte 2147483664; the file has 112 bytes. Download it again.",
    ),
    "five dimensions": (
        gguf(tensors=(tensor(dims=(1, 1, 1, 1, 1)),)),
        "tensor 'w': number of dimensions: got 5; expected <= 4.",
    ),
    "shape overflows": (
        gguf(tensors=(tensor(dims=(2**32, 2**32)),)),
        "tensor 'w': shape: got 4294967296 x 4294967296; expected 1 to 2^63 - 1 elements.",
    ),
    "shape of nothing": (
        gguf(tensors=(tensor(dims=(4, 0)),)),
        "tensor 'w': shape: got 4 x 0; expected 1 to 2^63 - 1 elements.",
    ),
    "unknown tensor type": (
        gguf(tensors=(tensor(type_number=255),)),
        "tensor 'w': unknown type: got 255; expected a type of ggml.h.",
    ),
    "withdrawn tensor type": (
        gguf(tensors=(tensor(type_number=4),)),
        "tensor 'w': unknown type: got 4; expected a type of ggml.h.",
    ),
    "rows that do not divide into blocks": (
        gguf(tensors=(tensor(dims=(64, 4), type_number=12),)),
        "tensor 'w': row length: got 64; expected a multiple of 256 for Q4_K.",
    ),
    "name of 64 bytes": (
        gguf(tensors=(tensor("n" * 64),)),
        "the name of tensor 0 is too long: got 64 bytes; expected <= 63.",
    ),
    "tensor name not UTF-8": (
        gguf(tensors=(tensor(b"\xff"),)),
        "the name of tensor 0 is not UTF-8: got byte 0xff at 0.",
    ),
    "duplicate tensor": (
        gguf(tensors=(tensor(), tensor(offset=32)), data=bytes(48)),
        "duplicate tensor 'w'.",
    ),
    "offset beyond the end": (
        gguf(tensors=(tensor(offset=2**40),), data=bytes(16)),
        "tensor 'w' ends at byte 1099511627856; the file has 80 bytes. Download it again.",
    ),
    "overlapping tensors": (
        gguf(tensors=(tensor(), tensor("v", offset=0)), data=bytes(48)),
        "tensor 'v': offset in the data: got 0; expected 32, right after the one before.",
    ),
    "data truncated by one byte": (
        SOUND[:-1],
        "tensor 'w' ends at byte 144; the file has 143 bytes. Download it again.",
    ),
    "header truncated": (
        SOUND[:70],
        "the name of tensor 0 would end at byte 77; the file has 70 bytes. Download it again.",
    ),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_corrupt_file_is_refused_by_name_and_reason(name: str, tmp_path: Path) -> None:
    content, reason = CORRUPT[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as refused:
        read_header(path)
    assert str(refused.value) == f"{path}: {reason}"
    assert "\n" not in str(refused.value)


def test_the_file_that_the_table_damages_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(SOUND)
    header = read_header(path)
    assert dict(header.metadata) == {"general.architecture": "llama"}
    assert [(t.name, t.shape, t.type_name, t.n_bytes) for t in header.tensors] == [
        ("w", (4,), "F32", 16)
    ]
    assert header.tensors[0].offset == len(SOUND) - 16


def test_a_path_that_hurts_a_terminal_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n\udcff.gguf"
    path.write_bytes(b"GGML")
    with pytest.raises(ArtifactError, match=r"/a\\x1b\[31m\\n\\udcff\.gguf: not a GGUF file"):
        read_header(path)


def write_hostile_files(directory: Path) -> None:
    """Files that cost a parser the most it allows, or claim far more."""
    for name, (content, _) in CORRUPT.items():
        (directory / f"{name}.gguf").write_bytes(content)
    tokens = gguf(keys=(key("t", 9, struct.pack("<IQ", 8, 2**33)),))
    numbers = gguf(keys=(key("t", 9, struct.pack("<IQ", 4, 2**33)),))
    for name, head in (("strings", tokens), ("numbers", numbers)):
        with (directory / f"sparse {name}.gguf").open("wb") as file:
            file.write(head)
            file.truncate(2**37)
    many = struct.pack("<IQ", 8, 2**21) + bytes(8 * 2**21)
    # everything up to the bounds, then one string too many
    (directory / "most strings.gguf").write_bytes(
        gguf(keys=(key("t", 9, many), key("u", 9, struct.pack("<IQ", 8, 1) + text("x"))))
    )
    wide = struct.pack("<IQ", 12, 64) + bytes(8 * 64)
    numbered = tuple(key(f"k{number}", 9, wide) for number in range(8192))
    (directory / "most keys.gguf").write_bytes(gguf(keys=numbered, counts=(60_000, 8192)))
    names = tuple(tensor(f"{number:063}", (1, 1, 1, 1), 24) for number in range(65_536))
    (directory / "most tensors.gguf").write_bytes(gguf(tensors=names))
    wide_text = text("\U0001f600" + "x" * ((1 << 20) - 4))
    texts = tuple(key(f"k{number}", 8, wide_text) for number in range(9))
    (directory / "most text.gguf").write_bytes(gguf(keys=texts))


CHILD = """
import json, sys, time
from pathlib import Path
from qgate.artifacts.gguf.header import read_header
from qgate.errors import ArtifactError

def peak_bytes():
    # ru_maxrss would begin with what the parent had when it forked
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])

for path in sorted(Path(sys.argv[1]).iterdir()):
    began = time.process_time()
    try:
        read_header(path)
        sys.exit(f"{path} was accepted")
    except ArtifactError:
        seconds = time.process_time() - began
    print(json.dumps([path.name, seconds, peak_bytes()]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
def test_hostile_files_are_refused_within_a_second_and_100_mb(tmp_path: Path) -> None:
    write_hostile_files(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(CORRUPT) + 6
    assert [row for row in rows if row[1] >= 1.0 or row[2] >= 100e6] == []
