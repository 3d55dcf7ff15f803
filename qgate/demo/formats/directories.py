"""A model's directory: what is copied from the reference, and what a tool must not leave in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from qgate.demo.formats.recipes import FormatError

WEIGHTS = "model.safetensors"
AT_LOAD = """\
# What to do with these weights when they are loaded.
quantize:
  method: bitsandbytes
  load_in_4bit: true
  bnb_4bit_quant_type: nf4
"""
_OWN = frozenset({WEIGHTS, "config.json"})
"""Files in which an artifact differs from the reference."""
_WITH_PATHS = ("config.json", "quantize_config.json", "quantization_config.json")
_PRIVATE_MODE_AS_OTHERS = 0o644


def companions(reference: Path) -> list[Path]:
    """Return the reference's files that every artifact has as they are: tokenizer and settings."""
    return [path for path in _files(reference) if path.name not in _OWN]


def copy_reference(reference: Path, target: Path) -> None:
    target.mkdir()
    for path in _files(reference):
        shutil.copyfile(path, target / path.name)


def write_at_load(reference: Path, target: Path) -> None:
    """Write the reference's files and beside them a `qgate.yaml` that asks for NF4."""
    copy_reference(reference, target)
    (target / "qgate.yaml").write_text(AT_LOAD, encoding="utf-8")


def finish(reference: Path, target: Path) -> None:
    """Make what a tool saved whole: the reference's companions, no paths of the tool's machine.

    Tools rewrite tokenizers and generation settings as they like, and some write weights that only
    their owner may read.

    Raises:
        FormatError: the tool saved no weights.
    """
    if not (target / WEIGHTS).is_file():
        saved = ", ".join(sorted(path.name for path in target.glob("*"))) or "nothing"
        raise FormatError(f"the tool saved no {WEIGHTS}: got {saved}")
    for path in companions(reference):
        shutil.copyfile(path, target / path.name)
    for name in _WITH_PATHS:
        path = target / name
        if path.is_file():
            content = without_paths(json.loads(path.read_text(encoding="utf-8")))
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (target / WEIGHTS).chmod(_PRIVATE_MODE_AS_OTHERS)


def without_paths(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the same JSON without the entries of objects that are absolute paths."""
    if isinstance(content, dict):
        return {key: without_paths(value) for key, value in content.items() if not _is_path(value)}
    if isinstance(content, list):
        return [without_paths(value) for value in content]
    return content


def store_in_float16(target: Path) -> None:
    """Store what a tool left in float32 as the float16 that it was made of.

    For tools that calculate in float32, which on a CPU is several times faster than in float16.
    """
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path = target / WEIGHTS
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = {
        name: tensor.astype(np.float16) if tensor.dtype == np.float32 else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata=metadata)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    for key in {"dtype", "torch_dtype"} & config.keys():
        config[key] = "float16"
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def put_in_place(unfinished: Path, target: Path) -> int:
    """Replace `target`, a directory or nothing, by what is finished; return its size in bytes."""
    if target.exists():
        old = unfinished.with_suffix(".old")
        target.replace(old)
        unfinished.replace(target)
        shutil.rmtree(old)
    else:
        unfinished.replace(target)
    return sum(path.stat().st_size for path in target.iterdir())


def _files(reference: Path) -> list[Path]:
    return sorted(
        path for path in reference.iterdir() if path.is_file() and path.suffix not in (".md", ".py")
    )


def _is_path(value: object) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()
