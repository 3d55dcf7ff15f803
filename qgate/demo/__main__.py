"""Make the demo's artifacts: ``python -m qgate.demo DIR``."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from qgate.demo.convert import convert
from qgate.demo.damage import damage_layer
from qgate.demo.quantize import QuantizeError, quantize

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "qgate-demo"
NEEDED = ("llama_cpp", "gguf", "safetensors")
DAMAGED_LAYER = 1


def model_directory() -> Path:
    """Return the directory of the model that comes with the package."""
    return Path(__file__).parent / "model"


def recipes(
    directory: Path, *, with_broken: bool
) -> list[tuple[str, str, Callable[[Path], object]]]:
    """Return name, scheme and recipe of each file, in the order in which they need each other."""
    original = directory / f"{NAME}-F16.gguf"
    made: list[tuple[str, str, Callable[[Path], object]]] = [
        (original.name, "F16, the reference", lambda target: convert(model_directory(), target)),
        *(
            (f"{NAME}-{scheme}.gguf", scheme, partial(quantize, original, scheme=scheme))
            for scheme in ("Q8_0", "Q6_K", "Q4_K_M")
        ),
    ]
    if not with_broken:
        return made
    sound = directory / f"{NAME}-Q8_0.gguf"
    return [
        *made,
        (
            f"{NAME}-Q2_K.gguf",
            "Q2_K, every matrix",
            partial(quantize, original, scheme="Q2_K", is_pure=True),
        ),
        (
            f"{NAME}-damaged-Q8_0.gguf",
            f"Q8_0, layer {DAMAGED_LAYER} damaged",
            partial(damage_layer, sound, layer=DAMAGED_LAYER),
        ),
    ]


def make(target: Path, recipe: Callable[[Path], object]) -> int:
    """Write a file under another name, then put it in its place; return its size in bytes."""
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        recipe(unfinished)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target.stat().st_size


def main(arguments: list[str] | None = None) -> int:
    """Make the files that the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m qgate.demo",
        description="Make a small reference model and quantized variants of it, as GGUF files.",
    )
    parser.add_argument("directory", nargs="?", type=Path, default=Path("demo-models"))
    parser.add_argument(
        "--with-broken", action="store_true", help="Also make variants that a gate must refuse"
    )
    asked = parser.parse_args(arguments)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return _fail(
            f'{", ".join(missing)} not installed. Install with: pip install "pytest-qgate[gguf]"'
        )
    try:
        asked.directory.mkdir(parents=True, exist_ok=True)
        for name, scheme, recipe in recipes(asked.directory, with_broken=asked.with_broken):
            size = make(asked.directory / name, recipe)
            sys.stdout.write(f"{asked.directory / name}  {scheme}  {size / 1e6:.1f} MB\n")
    except OSError as error:
        return _fail(f"{error.filename or asked.directory}: {error.strerror or error}")
    except QuantizeError as error:
        return _fail(str(error))
    sys.stdout.write(f"Now type: pytest --qgate {quote(str(asked.directory))}\n")
    return 0


def _fail(reason: str) -> int:
    sys.stderr.write(f"python -m qgate.demo: {reason}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
