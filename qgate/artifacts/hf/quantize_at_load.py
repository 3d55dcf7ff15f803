"""What a `qgate.yaml` beside unquantized weights asks for: to quantize them while they are loaded.

    quantize:
      method: bitsandbytes
      load_in_4bit: true
      bnb_4bit_quant_type: nf4
      bnb_4bit_use_double_quant: true

Keys and values are those of transformers' configuration of the same method. Strict, as a
thresholds file is: unknown keys are refused with the nearest known one, each error names its line.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.errors import ArtifactError, ThresholdsError
from qgate.untrusted.json import read_bytes
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qgate.thresholds.values import Leaf
    from qgate.thresholds.yaml_document import Document, Entry

FILE = "qgate.yaml"
_MOST_BYTES = 100_000
METHODS = ("bitsandbytes", "torchao")
TORCHAO_TYPES = (
    "int8_weight_only",
    "int8_dynamic_activation_int8_weight",
    "int4_weight_only",
    "float8_weight_only",
)
_DTYPES = ("float16", "bfloat16", "float32")
_EXAMPLE = "expected quantize: {method: bitsandbytes, load_in_4bit: true} or the like"


def read_quantize(path: Path) -> dict[str, Any]:
    """Read the file.

    Returns:
        `method` and the settings that the file has, as transformers knows them.

    Raises:
        ArtifactError: anything wrong with the file, as `file:line: ...` on one line.
    """
    from qgate.thresholds.yaml_document import read_document  # yaml: only with such a file

    shown = printable(str(path))
    text = read_bytes(path, _MOST_BYTES).decode("utf-8", "replace")
    if all(line.strip() == "" or line.lstrip().startswith("#") for line in text.splitlines()):
        raise ArtifactError(f"{shown}:1: got an empty file; {_EXAMPLE}.")
    try:
        document = read_document(path, shown)
        sections = document.mapping(document.root, "", ("quantize",))
        return _settings(document, sections)
    except ThresholdsError as error:
        raise ArtifactError(printable(str(error))) from error


def _settings(document: Document, sections: Mapping[str, Entry]) -> dict[str, Any]:
    from qgate.thresholds.values import Word

    if "quantize" not in sections:
        raise document.error(1, f"no quantize; {_EXAMPLE}.")
    section = sections["quantize"]
    entries = document.mapping(section.node, "quantize")
    method_word = Word(help="", choices=METHODS)
    if "method" not in entries:
        raise document.error(section.line, f"quantize: no method; expected {' or '.join(METHODS)}.")
    method = str(document.scalar(method_word, entries["method"].node, "quantize.method"))
    leaves = {"method": method_word, **_leaves(method)}
    values = document.values(section.node, "quantize", leaves)
    switches = {"true": True, "false": False}
    values = {
        key: switches[value] if getattr(leaves[key], "choices", ()) == ("true", "false") else value
        for key, value in values.items()
    }
    problem = (_bitsandbytes_problem if method == "bitsandbytes" else _torchao_problem)(values)
    if problem:
        raise document.error(section.line, f"quantize: {problem}")
    return values


def _leaves(method: str) -> Mapping[str, Leaf]:
    from qgate.thresholds.values import Word

    switch = Word(help="", choices=("true", "false"))
    if method == "torchao":
        return MappingProxyType({"quant_type": Word(help="", choices=TORCHAO_TYPES)})
    return MappingProxyType(
        {
            "load_in_4bit": switch,
            "load_in_8bit": switch,
            "bnb_4bit_quant_type": Word(help="", choices=("nf4", "fp4")),
            "bnb_4bit_use_double_quant": switch,
            "bnb_4bit_compute_dtype": Word(help="", choices=_DTYPES),
        }
    )


def _bitsandbytes_problem(values: Mapping[str, Any]) -> str:
    wanted = [key for key in ("load_in_4bit", "load_in_8bit") if values.get(key)]
    if len(wanted) != 1:
        got = "both" if wanted else "neither"
        return f"got {got} of load_in_4bit and load_in_8bit; expected one of them: true."
    beside = [key for key in values if key.startswith("bnb_4bit_")]
    if beside and wanted == ["load_in_8bit"]:
        return f"got {beside[0]} with load_in_8bit; expected it with load_in_4bit only."
    return ""


def _torchao_problem(values: Mapping[str, Any]) -> str:
    if "quant_type" in values:
        return ""
    return f"no quant_type; expected {' or '.join(TORCHAO_TYPES)}."
