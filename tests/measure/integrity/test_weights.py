"""The weights row: one NaN, Inf or matrix of zeros fails it, whatever the tensor's type."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qgate.artifacts.gguf.header import read_header
from qgate.artifacts.gguf.types import TYPES_BY_NAME
from qgate.errors import ArtifactError
from qgate.measure.integrity.gguf import check_weights
from qgate.measure.integrity.weight_scan import BLOCK_BYTES, LAYOUTS
from tests.support.gguf_tensors import layers, n_bytes, write


def sound_blocks(type_name: str, shape: tuple[int, ...]) -> bytearray:
    """Random quants, with 0.5 wherever a floating-point number is."""
    raw = bytearray(random.Random(7).randbytes(n_bytes(type_name, shape)))
    for place, half in places(type_name, len(raw)):
        raw[place : place + len(half)] = half
    return raw


def places(type_name: str, size: int) -> list[tuple[int, bytes]]:
    """Where the numbers of a type lie, and 0.5 in its form."""
    halves = {"F64": "<d", "F32": "<f", "BF16": None}
    form = halves.get(type_name, "<e")
    half = struct.pack(form, 0.5) if form else b"\x00\x3f"
    block = TYPES_BY_NAME[type_name].block_bytes
    at = [word * len(half) for word in LAYOUTS[type_name].at]
    return [(start + offset, half) for start in range(0, size, block) for offset in at]


SPECIALS = {
    "NaN": {"F64": struct.pack("<d", float("nan")), "F32": struct.pack("<f", float("nan"))},
    "-Inf": {"F64": struct.pack("<d", float("-inf")), "F32": struct.pack("<f", float("-inf"))},
}
HALF_SPECIALS = {"NaN": b"\x01\x7c", "-Inf": b"\x00\xfc"}
BF16_SPECIALS = {"NaN": b"\xc0\x7f", "-Inf": b"\x80\xff"}


def special(type_name: str, kind: str) -> bytes:
    if type_name == "BF16":
        return BF16_SPECIALS[kind]
    return SPECIALS[kind].get(type_name, HALF_SPECIALS[kind])


@pytest.mark.parametrize("kind", ["NaN", "-Inf"])
@pytest.mark.parametrize("type_name", LAYOUTS)
def test_one_number_that_is_none_fails_the_file_whatever_its_type(
    type_name: str, kind: str, tmp_path: Path
) -> None:
    shape = (512, 6)
    raw = sound_blocks(type_name, shape)
    path = write(tmp_path / "m.gguf", [("blk.0.w", type_name, shape)], data={"blk.0.w": bytes(raw)})
    held = check_weights([read_header(path)])
    assert (held.holds, held.message) == (True, "integrity.weights: 1 tensor, every number finite")
    everywhere = places(type_name, len(raw))
    at, half = everywhere[-1]
    raw[at : at + len(half)] = special(type_name, kind)
    write(path, [("blk.0.w", type_name, shape)], data={"blk.0.w": bytes(raw)})
    failed = check_weights([read_header(path)])
    of_what = "numbers" if type_name in ("F64", "F32", "F16", "BF16") else "scales"
    assert (failed.holds, failed.message) == (
        False,
        f"integrity.weights: 1 of 1 tensors hold NaN or Inf: blk.0.w (1 of {len(everywhere)} "
        f"{of_what}). Download or quantize it again.",
    )


# gguf 0.19 cannot dequantize Q1_0 and does not know Q2_0; in ggml-common.h both begin with `d`
@pytest.mark.parametrize("type_name", sorted(LAYOUTS.keys() - {"Q1_0", "Q2_0"}))
def test_scales_lie_where_the_gguf_package_reads_them(type_name: str) -> None:
    numpy, quants = pytest.importorskip("numpy"), pytest.importorskip("gguf.quants")
    kind = pytest.importorskip("gguf").GGMLQuantizationType[type_name]
    raw = sound_blocks(type_name, (512, 1))
    elements = TYPES_BY_NAME[type_name].block_elements

    def finite(content: bytearray) -> Any:
        words = numpy.frombuffer(bytes(content), dtype=numpy.uint8)
        known = {"F64": numpy.float64, "F32": numpy.float32, "F16": numpy.float16}
        if type_name in known:
            return numpy.isfinite(words.view(known[type_name]))
        with numpy.errstate(invalid="ignore"):
            return numpy.isfinite(quants.dequantize(words, kind))

    assert finite(raw).all()
    for word in LAYOUTS[type_name].at:
        damaged = bytearray(raw)
        nan = special(type_name, "NaN")
        damaged[word * len(nan) : (word + 1) * len(nan)] = nan
        assert not finite(damaged)[:elements].any()
        assert finite(damaged)[elements:].all()


def test_matrices_of_nothing_but_zeros_fail_and_vectors_may_be_zero(tmp_path: Path) -> None:
    # Q4_0 of zeros: llama.cpp writes the scale -0.0 and the quants 8
    zeros = b"".join(struct.pack("<e", -0.0) + b"\x88" * 16 for _ in range(8 * 4))
    path = write(
        tmp_path / "m.gguf",
        [
            ("a", "Q4_0", (256, 4)),
            ("b", "F32", (256, 4)),
            ("c", "F16", (256, 4)),
            ("d", "MXFP4", (256, 4)),
            ("e", "Q8_0", (256, 4)),
            ("bias", "F32", (256,)),
        ],
        data={
            "a": zeros,
            "b": bytes(4096),
            "c": bytes(2048),
            "d": bytes(n_bytes("MXFP4", (256, 4))),
            "bias": bytes(1024),
        },
    )
    finding = check_weights([read_header(path)])
    assert (finding.holds, finding.message) == (
        False,
        "integrity.weights: 4 of 6 tensors are all zero: a, b, c and 1 more. "
        "Download or quantize it again.",
    )
    assert finding.details["all_zero"] == ["a", "b", "c", "d"]


def test_types_that_cannot_be_scanned_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", [("a", "IQ1_M", (256, 4)), ("b", "Q8_0", (256, 4))])
    finding = check_weights([read_header(path)])
    assert (finding.holds, finding.message) == (
        True,
        "integrity.weights: 2 tensors, every number finite; scales not looked at in 1 tensor",
    )
    assert finding.details["not_scanned"] == {"IQ1_M": n_bytes("IQ1_M", (256, 4))}


def test_a_hostile_tensor_name_stays_on_one_line(tmp_path: Path) -> None:
    nan = struct.pack("<f", float("nan")) * 1024
    path = write(tmp_path / "m.gguf", [("\x1b[31m\n", "F32", (256, 4))], data={"\x1b[31m\n": nan})
    finding = check_weights([read_header(path)])
    assert "\\x1b[31m\\n (1024 of 1024 numbers)" in finding.message
    assert finding.message.isprintable()


def test_a_file_that_shrinks_under_the_scan_is_an_error_and_no_pass(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", layers(F16=2))
    header = read_header(path)
    os.truncate(path, header.tensors[0].offset + 100)
    with pytest.raises(ArtifactError) as failed:
        check_weights([header])
    assert str(failed.value) == f"{path}: the file became shorter while tensor blk.0.w was read."


CHILD = """
import sys
from pathlib import Path
import numpy
from qgate.artifacts.gguf.header import read_header
from qgate.measure.integrity.gguf import check_weights

def peak_bytes():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])

before = peak_bytes()
finding = check_weights([read_header(Path(sys.argv[1]))])
print(finding.holds, peak_bytes() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
def test_the_scan_holds_a_few_blocks_in_memory_however_large_a_tensor_is(tmp_path: Path) -> None:
    shape = (1024, 65_536)
    path = tmp_path / "m.gguf"
    write(path, [("w", "F16", shape)], data={"w": b"\x01" * n_bytes("F16", shape)})
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    holds, grown_bytes = done.stdout.split()
    assert holds == "True"
    assert int(grown_bytes) < 5 * BLOCK_BYTES < path.stat().st_size / 3
