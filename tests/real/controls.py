"""Copies of a sound GGUF file that differ in everything but the model."""

from __future__ import annotations

import ctypes
from types import MappingProxyType
from typing import TYPE_CHECKING

from tests.real.runs import place
from tests.support.gguf_faults import rewrite

if TYPE_CHECKING:
    from pathlib import Path

TENSORS_A_FILE = 20
FILE_TYPES = MappingProxyType({"F32": 0, "F16": 1, "Q8_0": 7, "BF16": 32})
"""`general.file_type` of llama.cpp."""
CONTROLS = ("another-name", "other-order", "saved-again", "in-shards")


def write_controls(source: Path, directory: Path) -> None:
    """A copy under another name, one in another order, one written again, one in several files."""
    directory.mkdir(parents=True, exist_ok=True)
    place(source, directory / "another-name.gguf")
    rewrite(source, directory / "other-order.gguf", is_reversed=True)
    rewrite(source, directory / "saved-again.gguf")
    rewrite(source, directory / "in-shards.gguf", tensors_a_file=TENSORS_A_FILE)
    assert list(directory.glob("in-shards-00001-of-*.gguf")), "the set is one file"


def store_as(source: Path, target: Path, kind: str) -> None:
    """The same weights in another type, by llama.cpp's own quantizer: F32, F16, BF16 or Q8_0."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.allow_requantize = FILE_TYPES[kind], True
    given = (str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    assert llama_cpp.llama_model_quantize(*given) == 0, f"{source} as {kind}"
