"""A qgate.yaml beside unquantized weights: what it may say, and what becomes of the artifact."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import choose_reference, digest, discover
from tests.artifacts.model_files import hf

if TYPE_CHECKING:
    from pathlib import Path


def with_file(directory: Path, text: str, **config: Any) -> Path:
    path = hf(directory, **{"dtype": "float16", **config}) / "qgate.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "quantize", "words"),
    [
        (
            "quantize: {method: bitsandbytes, load_in_8bit: true}",
            {"method": "bitsandbytes", "load_in_8bit": True},
            "8 bit int8, while loading",
        ),
        (
            "# NF4\nquantize:\n  method: bitsandbytes\n  load_in_4bit: true\n"
            "  bnb_4bit_quant_type: nf4\n  bnb_4bit_use_double_quant: true\n"
            "  bnb_4bit_compute_dtype: bfloat16\n",
            {
                "method": "bitsandbytes",
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
                "bnb_4bit_compute_dtype": "bfloat16",
            },
            "4 bit nf4, double, while loading",
        ),
        (
            "quantize: {method: torchao, quant_type: int4_weight_only}",
            {"method": "torchao", "quant_type": "int4_weight_only"},
            "int4 weight-only, while loading",
        ),
    ],
    ids=["int8", "nf4", "torchao"],
)
def test_what_the_file_asks_for_is_the_artifacts(
    text: str, quantize: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = with_file(tmp_path / "m", text)
    (found,) = discover([tmp_path])
    assert (found.problem, found.quantize, found.quantization) == (None, quantize, words)
    assert (found.scheme, found.is_quantized) == (quantize["method"], True)
    assert path in found.files
    assert isinstance(hash(found), int)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "",
            "1: got an empty file; expected quantize: {method: bitsandbytes, load_in_4bit: true} "
            "or the like.",
        ),
        (
            "{}",
            "1: no quantize; expected quantize: {method: bitsandbytes, load_in_4bit: true} "
            "or the like.",
        ),
        ("quantise: 1", "1: unknown key 'quantise'. Did you mean 'quantize'? Valid: quantize."),
        (
            "\nquantize: {load_in_4bit: true}",
            "2: quantize: no method; expected bitsandbytes or torchao.",
        ),
        (
            "quantize: {method: bitsandbyte}",
            "1: quantize.method: got 'bitsandbyte'; expected bitsandbytes or torchao. "
            "Did you mean 'bitsandbytes'?",
        ),
        (
            "quantize:\n  method: bitsandbytes\n  load_in_4bits: true",
            "3: unknown key 'load_in_4bits' in quantize. Did you mean 'load_in_4bit'? Valid: "
            "method, load_in_4bit, load_in_8bit, bnb_4bit_quant_type, bnb_4bit_use_double_quant, "
            "bnb_4bit_compute_dtype.",
        ),
        (
            "quantize: {method: bitsandbytes, load_in_4bit: true, load_in_8bit: true}",
            "1: quantize: got both of load_in_4bit and load_in_8bit; expected one of them: true.",
        ),
        (
            "quantize: {method: bitsandbytes, load_in_4bit: false}",
            "1: quantize: got neither of load_in_4bit and load_in_8bit; "
            "expected one of them: true.",
        ),
        (
            "quantize: {method: bitsandbytes, load_in_8bit: true, bnb_4bit_quant_type: nf4}",
            "1: quantize: got bnb_4bit_quant_type with load_in_8bit; "
            "expected it with load_in_4bit only.",
        ),
        (
            "quantize: {method: torchao}",
            "1: quantize: no quant_type; expected int8_weight_only or "
            "int8_dynamic_activation_int8_weight or int4_weight_only or float8_weight_only.",
        ),
        (
            "quantize: {method: torchao, quant_type: int8}",
            "1: quantize.quant_type: got 'int8'; expected int8_weight_only or "
            "int8_dynamic_activation_int8_weight or int4_weight_only or float8_weight_only.",
        ),
        ("quantize: {", "1: not valid YAML at column 12:"),
    ],
)
def test_a_wrong_file_is_the_artifacts_problem_by_its_line(
    text: str, problem: str, tmp_path: Path
) -> None:
    """What else its reader refuses: tests/thresholds/test_wrong_files.py."""
    path = with_file(tmp_path / "m", text)
    (found,) = discover([tmp_path])
    assert found.problem is not None
    assert found.problem.startswith(f"{path}:{problem}")
    assert found.problem.isprintable()
    assert choose_reference([found], None) is None


def test_weights_quantized_already_are_not_quantized_again(tmp_path: Path) -> None:
    gptq = {"quant_method": "gptq", "bits": 4}
    text = "quantize: {method: bitsandbytes, load_in_8bit: true}"
    with_file(tmp_path / "m", text, quantization_config=gptq)
    (found,) = discover([tmp_path])
    assert found.problem == (
        f"{tmp_path}/m: qgate.yaml: got weights quantized already (gptq); expected unquantized "
        "ones. Remove one of the two."
    )


def test_the_file_counts_in_the_digest(tmp_path: Path) -> None:
    path = with_file(tmp_path / "m", "quantize: {method: bitsandbytes, load_in_8bit: true}")
    seen = [digest(discover([tmp_path])[0])]
    path.write_text("quantize: {method: bitsandbytes, load_in_4bit: true}")
    seen.append(digest(discover([tmp_path])[0]))
    path.unlink()
    seen.append(digest(discover([tmp_path])[0]))
    assert len(set(seen)) == 3


def test_yaml_is_imported_only_where_there_is_such_a_file(tmp_path: Path) -> None:
    hf(tmp_path / "plain", dtype="float16")
    with_file(tmp_path / "nf4", "quantize: {method: bitsandbytes, load_in_4bit: true}")
    script = (
        "import sys; from pathlib import Path; from qgate.artifacts import discover\n"
        "(found,) = discover([Path(sys.argv[1])])\n"
        "assert ('yaml' in sys.modules) == (found.quantize is not None), found\n"
        "assert found.problem is None, found.problem\n"
    )
    for name in ("plain", "nf4"):
        command = [sys.executable, "-c", script, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
