"""Integrity rows: what fails them, and in which words."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.artifacts.ggml_types import FILE_TYPES, GGML_TYPES, TYPES_BY_NAME
from qgate.artifacts.gguf import GgufHeader, read_header
from qgate.artifacts.tokenizer import tokenizer_facts
from qgate.errors import ArtifactError
from qgate.measure.integrity import (
    check_chat_template,
    check_files,
    check_scheme,
    check_special_tokens,
    check_tokenizer,
    check_weights,
)
from qgate.measure.weight_scan import BLOCK_BYTES, LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Mapping

STORIES = Path(__file__).parents[2].parent / "shared" / "models" / "stories260K"
needs_stories = pytest.mark.skipif(
    not STORIES.is_dir(), reason="no shared/models/stories260K beside the repository"
)
NUMBERS = {ggml_type.name: number for number, ggml_type in GGML_TYPES.items()}


def text(content: str) -> bytes:
    return struct.pack("<Q", len(content.encode())) + content.encode()


def n_bytes(type_name: str, shape: tuple[int, ...]) -> int:
    n_elements = 1
    for length in shape:
        n_elements *= length
    ggml_type = TYPES_BY_NAME[type_name]
    return n_elements // ggml_type.block_elements * ggml_type.block_bytes


def write(
    path: Path,
    tensors: list[tuple[str, str, tuple[int, ...]]],
    *,
    metadata: Mapping[str, str | int] | None = None,
    data: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a GGUF file; a tensor is (name, type, shape), its data 1s unless given."""
    rows = []
    for key, value in {"general.architecture": "llama", **(metadata or {})}.items():
        kind = struct.pack("<I", 8) + text(value) if isinstance(value, str) else None
        rows.append(text(key) + (kind or struct.pack("<II", 4, int(value))))
    infos, blobs, offset = [], [], 0
    for name, type_name, shape in tensors:
        raw = (data or {}).get(name, b"\x01" * n_bytes(type_name, shape))
        raw += bytes(-len(raw) % 32)
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos.append(text(name) + dims + struct.pack("<IQ", NUMBERS[type_name], offset))
        blobs.append(raw)
        offset += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(rows)) + b"".join(rows + infos)
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(blobs))
    return path


def layers(**types: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """So many matrices of 256 x 4 of each type, and a norm."""
    names = [name for name, count in types.items() for _ in range(count)]
    matrices: list[tuple[str, str, tuple[int, ...]]] = [
        (f"blk.{index}.w", name, (256, 4)) for index, name in enumerate(names)
    ]
    return [*matrices, ("output_norm.weight", "F32", (256,))]


def number_of(scheme: str) -> int:
    return next(number for number, name in FILE_TYPES.items() if name == scheme)


def scheme_headers(
    path: Path, scheme: str | int | None, tensors: list[tuple[str, str, tuple[int, ...]]]
) -> list[GgufHeader]:
    claim = number_of(scheme) if isinstance(scheme, str) else scheme
    metadata = {} if claim is None else {"general.file_type": claim}
    return [read_header(write(path, tensors, metadata=metadata))]


def narrow(*types: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """Matrices whose rows have 160 elements: five blocks of 32, no block of 256."""
    return [(f"blk.{index}.w", name, (160, 4)) for index, name in enumerate(types)]


@pytest.mark.parametrize(
    ("scheme", "tensors", "message"),
    [
        (
            "Q4_K_M",
            layers(Q4_K=7, Q6_K=1),
            "Q4_K_M; stored as Q4_K 83%, Q6_K 17% of the weight bytes, 4.76 bits per weight",
        ),
        (
            "F16",
            layers(F16=3),
            "F16; stored as F16 100% of the weight bytes, 16.00 bits per weight",
        ),
        (
            "Q4_K_M",
            narrow("Q5_0", "Q8_0"),
            "Q4_K_M; stored as Q8_0 61%, Q5_0 39% of the weight bytes, 7.00 bits per weight",
        ),
        (
            "MXFP4_MOE",
            layers(Q8_0=4),
            "MXFP4_MOE; stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
        (
            None,
            layers(Q8_0=1),
            "no file type claimed; stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
    ],
    ids=["mix", "unquantized", "rows too short for blocks of 256", "dense mxfp4", "no claim"],
)
def test_a_scheme_that_the_tensors_bear_out_holds(
    scheme: str | None, tensors: Any, message: str, tmp_path: Path
) -> None:
    finding = check_scheme(scheme_headers(tmp_path / "m.gguf", scheme, tensors))
    assert (finding.holds, finding.message) == (True, f"integrity.scheme: {message}")


@pytest.mark.parametrize(
    ("scheme", "tensors", "wrong"),
    [
        (
            "Q4_K_M",
            layers(F16=4),
            "claims Q4_K_M, but none of 4 weight tensors is quantized; "
            "stored as F16 100% of the weight bytes, 16.00 bits per weight",
        ),
        (
            "Q4_K_M",
            layers(Q4_K=4, F16=2),
            "claims Q4_K_M, but only 36% of the weight bytes are quantized; "
            "stored as F16 64%, Q4_K 36% of the weight bytes, 8.33 bits per weight",
        ),
        (
            "Q6_K",
            layers(Q8_0=4),
            "claims Q6_K, but no weight tensor is Q6_K (4 could be); "
            "stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
        (
            "Q8_0",
            layers(Q8_0=1, Q2_K=9),
            "claims Q8_0: got 3.21 bits per weight; expected 6.80 to 10.50; "
            "stored as Q2_K 74%, Q8_0 26% of the weight bytes, 3.21 bits per weight",
        ),
        (
            "Q2_K",
            layers(Q2_K=3, Q8_0=3),
            "claims Q2_K: got 5.56 bits per weight; expected 2.10 to 4.62; "
            "stored as Q8_0 76%, Q2_K 24% of the weight bytes, 5.56 bits per weight",
        ),
        (
            "F16",
            layers(F16=3, Q4_0=1),
            "claims F16, but 1 of 4 are quantized: blk.3.w; "
            "stored as F16 91%, Q4_0 9% of the weight bytes, 13.12 bits per weight",
        ),
        (
            "F16",
            layers(F32=3),
            "claims F16, but no weight tensor is F16 (3 could be); "
            "stored as F32 100% of the weight bytes, 32.00 bits per weight",
        ),
        (
            999,
            layers(Q8_0=1),
            "general.file_type is not a known file type; "
            "stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
        (
            "Q8_0",
            [("norm", "F32", (8,))],
            "no tensor has two dimensions: there are no weights; stored as nothing",
        ),
    ],
)
def test_a_scheme_that_the_tensors_contradict_fails(
    scheme: str | int, tensors: Any, wrong: str, tmp_path: Path
) -> None:
    finding = check_scheme(scheme_headers(tmp_path / "m.gguf", scheme, tensors))
    expected = f"integrity.scheme: {wrong}. Quantize it again, or name it rightly."
    assert (finding.holds, finding.message) == (False, expected)


def test_the_scheme_row_keeps_the_histogram(tmp_path: Path) -> None:
    headers = scheme_headers(tmp_path / "m.gguf", "Q4_K_M", layers(Q4_K=7, Q6_K=1))
    assert check_scheme(headers).details == {
        "scheme": "Q4_K_M",
        "bytes_by_type": {"Q4_K": 7 * 4 * 144, "Q6_K": 4 * 210},
        "bits_per_weight": 4.7578,
    }


def test_a_whole_file_holds_and_a_truncated_one_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", layers(Q8_0=2))
    (artifact,) = discover([path])
    finding = check_files(artifact)
    assert (finding.holds, finding.message) == (True, "integrity.files: 3 tensors in 1 file, whole")
    with path.open("ab") as file:
        file.write(b"more")
    assert check_files(artifact).message == (
        f"integrity.files: {path}: changed during the run: got {path.stat().st_size} bytes; "
        f"expected {artifact.size_bytes} as at the beginning."
    )
    os.truncate(path, artifact.size_bytes - 1)
    finding = check_files(artifact)
    assert (finding.holds, finding.message) == (
        False,
        f"integrity.files: {path}: tensor 'output_norm.weight' ends at byte "
        f"{artifact.size_bytes}; the file has {artifact.size_bytes - 1} bytes. Download it again.",
    )
    (broken,) = discover([path])
    assert check_files(broken) == finding


def test_tokenizer_rows_name_what_differs(tmp_path: Path) -> None:
    def facts(**changes: str | int) -> Any:
        metadata: dict[str, str | int] = {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": "{{ messages }}",
        }
        metadata.update({key.replace("__", "."): value for key, value in changes.items()})
        return tokenizer_facts(read_header(write(tmp_path / "m.gguf", [], metadata=metadata)))

    remedy = "Convert both from the same original."
    for check, changes, row, differs in (
        (
            check_tokenizer,
            {"tokenizer__ggml__model": "llama"},
            "tokenizer",
            "tokenizer.ggml.model: 'llama', the reference has 'gpt2'",
        ),
        (
            check_special_tokens,
            {"tokenizer__ggml__eos_token_id": 1},
            "special_tokens",
            "tokenizer.ggml.eos_token_id: 1, the reference has 2",
        ),
        (
            check_chat_template,
            {"tokenizer__chat_template": "{{ x }}"},
            "chat_template",
            "tokenizer.chat_template differ (sha256:e52c7372… of 7 characters and "
            "sha256:f24189f0… of 14 characters)",
        ),
    ):
        failed = check(facts(**changes), facts())
        assert (failed.check, failed.holds) == (f"integrity.{row}", False)
        assert failed.message == f"integrity.{row}: not the reference's: {differs}. {remedy}"
        held = check(facts(), facts())
        assert (held.holds, held.message) == (True, f"integrity.{row}: the reference's (1 key)")
        assert held.details["digest"] == held.details["reference_digest"]


def test_two_files_without_a_tokenizer_do_not_agree_on_one(tmp_path: Path) -> None:
    nothing = tokenizer_facts(read_header(write(tmp_path / "m.gguf", [])))
    finding = check_tokenizer(nothing, nothing)
    assert (finding.holds, finding.message) == (
        False,
        "integrity.tokenizer: no tokenizer in either file",
    )
    assert check_chat_template(nothing, nothing).holds


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
    os.truncate(path, header.data_offset + 100)
    with pytest.raises(ArtifactError) as failed:
        check_weights([header])
    assert str(failed.value) == f"{path}: the file became shorter while tensor blk.0.w was read."


@needs_stories
@pytest.mark.parametrize("scheme", ["f32", "f16", "q8_0", "q5_0", "q4_0"])
def test_real_files_hold_every_row(scheme: str) -> None:
    (artifact,) = discover([STORIES / f"stories260K-{scheme}.gguf"])
    header = read_header(artifact.path)
    assert check_files(artifact).holds
    assert check_scheme([header]).holds
    weights = check_weights([header])
    assert weights.message == "integrity.weights: 48 tensors, every number finite"
    assert weights.details["n_bytes"] == sum(tensor.n_bytes for tensor in header.tensors)


CHILD = """
import sys
from pathlib import Path
import numpy
from qgate.artifacts.gguf import read_header
from qgate.measure.integrity import check_weights

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
