"""Make the demo's artifacts: ``python -m qgate.demo DIR``."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the working directory: as in `qgate/__main__.py`

import argparse
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from qgate.demo.certify import ITEMS, write_certify
from qgate.demo.formats.gguf_convert import convert
from qgate.demo.formats.gguf_damage import damage_layer
from qgate.demo.formats.gguf_quantize import QuantizeError, quantize
from qgate.demo.formats.make import PYTHON_VARIABLE, Order, check_tools, read_formats
from qgate.demo.formats.make import make as make_formats
from qgate.demo.formats.recipes import GGUF, RECIPES, FormatError
from qgate.runtimes.base import LoadSettings
from qgate.runtimes.llama_cpp.adapter import LlamaCpp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "qgate-demo"
_NAME = "python -m qgate.demo"
NEEDED = ("llama_cpp", "gguf", "safetensors")
DAMAGED_LAYER = 1


def model_directory() -> Path:
    """Return the directory of the model that comes with the package."""
    return Path(__file__).parent / "model"


def recipes(
    directory: Path, *, with_broken: bool
) -> list[tuple[str, str, Callable[[Path], object]]]:
    """Return name, scheme and recipe of each file, in the order in which they need each other."""
    reference = directory / f"{NAME}-F16.gguf"
    made: list[tuple[str, str, Callable[[Path], object]]] = [
        (reference.name, "F16, the reference", lambda target: convert(model_directory(), target)),
        *(
            (f"{NAME}-{scheme}.gguf", scheme, partial(quantize, reference, scheme=scheme))
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
            partial(quantize, reference, scheme="Q2_K", is_pure=True),
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


def make_gguf(directory: Path, *, with_broken: bool) -> Iterator[str]:
    """Write the GGUF files; yield what to say about each."""
    for name, scheme, recipe in recipes(directory, with_broken=with_broken):
        size = make(directory / name, recipe)
        yield f"{directory / name}  {scheme}  {size / 1e6:.1f} MB"
    limits = write_certify(directory, _length(directory / f"{NAME}-F16.gguf"))
    yield f"{limits}  limits to certify, {ITEMS} items a task"


def _length(reference: Path) -> Callable[[str], int]:
    """Tokens of a text, as the reference counts them."""
    model = LlamaCpp()
    model.load(LoadSettings(path=str(reference), window_tokens=1))
    return lambda text: len(model.encode(text, begins=False))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Make a small reference model and quantized variants of it, as GGUF files"
        " or in the formats that are named.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="formats:\n  gguf          llama.cpp's Q8_0, Q6_K and Q4_K_M\n"
        + "".join(f"  {name:12}  {recipe.says}\n" for name, recipe in RECIPES.items()),
    )
    parser.add_argument("directory", nargs="?", type=Path, default=Path("demo-models"))
    parser.add_argument(
        "--formats", default=GGUF, metavar="NAME,...", help="What to make (default: gguf)"
    )
    parser.add_argument(
        "--with-broken", action="store_true", help="Also make variants that a gate must refuse"
    )
    parser.add_argument(
        "--llmcompressor-python",
        default=os.environ.get(PYTHON_VARIABLE, ""),
        metavar="PATH",
        help=f"Interpreter that has llmcompressor (default: {PYTHON_VARIABLE}, else this one)",
    )
    return parser


def main(arguments: list[str] | None = None, prog: str = _NAME) -> int:
    """Make the files that the command line asks for.

    Args:
        arguments: of the command line; None: of this process.
        prog: what the command is called in its messages.
    """
    asked = _parser(prog).parse_args(arguments)
    try:
        formats = read_formats(asked.formats)
    except FormatError as error:
        return _fail(prog, str(error))
    order = Order(
        formats=tuple(name for name in formats if name != GGUF),
        reference=model_directory(),
        directory=asked.directory,
        with_broken=asked.with_broken,
        llmcompressor_python=asked.llmcompressor_python,
    )
    missing = [name for name in NEEDED if GGUF in formats and find_spec(name) is None]
    if missing:
        return _fail(
            prog,
            f'{", ".join(missing)} not installed. Install with: pip install "pytest-qgate[gguf]"',
        )
    if lines := check_tools(order):
        return _fail(prog, *lines)
    try:
        _make_all(order, with_gguf=GGUF in formats)
    except OSError as error:
        return _fail(prog, f"{error.filename or asked.directory}: {error.strerror or error}")
    except (QuantizeError, FormatError) as error:
        return _fail(prog, str(error))
    sys.stdout.write(f"Now type: pytest --qgate {quote(str(asked.directory))}\n")
    return 0


def _make_all(order: Order, *, with_gguf: bool) -> None:
    order.directory.mkdir(parents=True, exist_ok=True)
    if with_gguf:
        for line in make_gguf(order.directory, with_broken=order.with_broken):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    if order.formats:
        for made in make_formats(order):
            sys.stdout.write(f"{made.path}  {made.says}  {made.size_bytes / 1e6:.1f} MB\n")
            sys.stdout.flush()


def _fail(prog: str, *reasons: str) -> int:
    for reason in reasons:
        sys.stderr.write(f"{prog}: {reason}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
