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
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from qgate.errors import ArtifactError, ThresholdsError
from qgate.thresholds.reading import Reader
from qgate.thresholds.settings import Section
from qgate.thresholds.yaml_document import read_document
from qgate.untrusted.json import read_bytes
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MOST_BYTES = 100_000
_EXAMPLE = "expected quantize: {method: bitsandbytes, load_in_4bit: true} or the like"


class _Method(Section):
    method: Literal["bitsandbytes", "torchao"]


class _BitsAndBytes(_Method):
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "fp4"
    bnb_4bit_use_double_quant: bool = False
    bnb_4bit_compute_dtype: Literal["float16", "bfloat16", "float32"] = "float32"

    @model_validator(mode="after")
    def _one_of_both(self) -> _BitsAndBytes:
        if self.load_in_4bit == self.load_in_8bit:
            got = "both" if self.load_in_4bit else "neither"
            raise ValueError(
                f"got {got} of load_in_4bit and load_in_8bit; expected one of them: true."
            )
        of_4bit = [key for key in type(self).model_fields if key.startswith("bnb_4bit_")]
        written = [key for key in of_4bit if key in self.model_fields_set]
        if written and self.load_in_8bit:
            raise ValueError(
                f"got {written[0]} with load_in_8bit; expected it with load_in_4bit only."
            )
        return self


class _TorchAO(_Method):
    quant_type: Literal[
        "int8_weight_only",
        "int8_dynamic_activation_int8_weight",
        "int4_weight_only",
        "float8_weight_only",
    ]


_MODELS: Mapping[str, type[Section]] = MappingProxyType(
    {"bitsandbytes": _BitsAndBytes, "torchao": _TorchAO}
)


def read_quantize(path: Path) -> dict[str, Any]:
    """Read the file.

    Returns:
        `method` and the settings that the file has, as transformers knows them.

    Raises:
        ArtifactError: anything wrong with the file, each as `file:line: ...`, on one line.
    """
    shown = printable(str(path))
    text = read_bytes(path, _MOST_BYTES).decode("utf-8", "replace")
    if all(line.strip() == "" or line.lstrip().startswith("#") for line in text.splitlines()):
        raise ArtifactError(f"{shown}:1: got an empty file; {_EXAMPLE}.")
    try:
        return _read(Reader(read_document(path, shown)))
    except ThresholdsError as error:
        raise ArtifactError(printable(str(error).replace("\n", " "))) from error


def _read(reader: Reader) -> dict[str, Any]:
    sections = reader.mapping(reader.document.root, "", ("quantize",))
    reader.finish()
    if "quantize" not in sections:
        raise reader.document.error(1, f"no quantize; {_EXAMPLE}.")
    section = sections["quantize"]
    entries = reader.mapping(section.node, "quantize")
    reader.finish()
    own = {key: entry for key, entry in entries.items() if key == "method"}
    method = reader.check(own, section.line, "quantize", _Method)
    found = method and reader.read(section, "quantize", _MODELS[method.method])
    reader.finish()
    assert found is not None
    return found.model_dump(exclude_unset=True)
