"""All formats that were asked for, beside the reference, each put in place when it is whole."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.demo.formats import child
from qgate.demo.formats.damage import LAYER, damage
from qgate.demo.formats.directories import copy_reference, put_in_place, write_at_load
from qgate.demo.formats.recipes import GGUF, LLMCOMPRESSOR, RECIPES, FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qgate.demo.formats.recipes import Tool

NAME = "qgate-demo"
REFERENCE = f"{NAME}-float16"
PYTHON_VARIABLE = "QGATE_LLMCOMPRESSOR_PYTHON"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to make, of what, where."""

    formats: tuple[str, ...]
    """Names from `RECIPES`."""
    reference: Path
    directory: Path
    with_broken: bool = False
    llmcompressor_python: str = ""
    """Interpreter that has llm-compressor; empty: this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An artifact in its place."""

    path: Path
    says: str
    size_bytes: int


def read_formats(text: str) -> tuple[str, ...]:
    """Return the formats of a comma-separated list, in the order in which they are made.

    Raises:
        FormatError: one of them is unknown, or there is none.
    """
    known = (GGUF, *RECIPES)
    asked = [name.strip() for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise FormatError(f"--formats: got {name!r}; expected {', '.join(known)}.{hint}")
    if not asked:
        raise FormatError(f"--formats: got nothing; expected {', '.join(known)}.")
    return tuple(name for name in known if name in asked)


def check_tools(order: Order) -> list[str]:
    """Return a line for each tool that is not there: whom it is for and how to install it."""
    lines = []
    for tool, names in _by_tool(order.formats):
        where = ", ".join(names)
        try:
            missing = child.missing_packages(_python(tool, order), tool.packages)
        except FormatError as error:
            lines.append(f"{where}: {error}")
            continue
        if missing:
            are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
            lines.append(
                f"{where}: {', '.join(missing)} {are} not installed."
                f" Install {them} with: {tool.install}"
            )
    return lines


def make(order: Order) -> Iterator[Made]:
    """Write the reference and the artifacts into the directory, one after the other.

    Raises:
        FormatError: a tool failed; what was yielded before is in its place.
    """
    with _unfinished(order.directory / REFERENCE) as unfinished:
        copy_reference(order.reference, unfinished)
        yield _placed(unfinished, order.directory / REFERENCE, "float16, the reference")
    for tool, names in _by_process(order.formats):
        for name in _sound(tool, names, order):
            target = order.directory / f"{NAME}-{RECIPES[name].suffix}"
            yield _placed(_temporary(target), target, RECIPES[name].says)
            if order.with_broken:
                yield _broken(name, target)


def _sound(tool: Tool, names: list[str], order: Order) -> Iterator[str]:
    """Write artifacts under their temporary names."""
    jobs = {name: _temporary(order.directory / f"{NAME}-{RECIPES[name].suffix}") for name in names}
    try:
        if tool.module:
            yield from child.run(_python(tool, order), tool, order.reference, jobs)
        else:
            for name, path in jobs.items():
                write_at_load(order.reference, path)
                yield name
    finally:
        for path in jobs.values():
            shutil.rmtree(path, ignore_errors=True)


def _broken(name: str, sound: Path) -> Made:
    recipe = RECIPES[name]
    target = sound.with_name(f"{NAME}-broken-{recipe.suffix}")
    with _unfinished(target) as unfinished:
        damage(sound, unfinished, recipe.damage)
        return _placed(unfinished, target, f"{recipe.says}, layer {LAYER} damaged")


def _by_tool(formats: tuple[str, ...]) -> list[tuple[Tool, list[str]]]:
    groups: dict[Tool, list[str]] = {}
    for name in formats:
        groups.setdefault(RECIPES[name].tool, []).append(name)
    return list(groups.items())


def _by_process(formats: tuple[str, ...]) -> list[tuple[Tool, list[str]]]:
    """Formats that one module makes go into one process: starting takes longer than the work."""
    groups: dict[str, list[str]] = {}
    for name in formats:
        groups.setdefault(RECIPES[name].tool.module, []).append(name)
    return [(RECIPES[names[0]].tool, names) for names in groups.values()]


def _python(tool: Tool, order: Order) -> str:
    return (tool.module == LLMCOMPRESSOR and order.llmcompressor_python) or sys.executable


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    path = _temporary(target)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _placed(unfinished: Path, target: Path, says: str) -> Made:
    return Made(path=target, says=says, size_bytes=put_in_place(unfinished, target))
