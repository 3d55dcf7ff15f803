"""From a document's nodes to settings and layers: one function per section of the file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from qgate.checks import CHECKS, Check
from qgate.records import Limit, SourceLine
from qgate.thresholds.document import Document, Entry, line_of, seen
from qgate.thresholds.grammar import (
    INHERIT,
    OFF,
    RUNTIME,
    SECTIONS,
    TEXT,
    TEXT_SOURCES,
    TEXT_SUFFIXES,
    VERSION,
    limit_keys,
)
from qgate.thresholds.model import Layer, RuntimeSettings, TextSettings
from qgate.thresholds.scalars import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_sections(document: Document) -> dict[str, Entry]:
    """The file's sections, after its version is known to be ours.

    Raises:
        ThresholdsError: no or another version, an unknown section.
    """
    # The version first: in a file of a later format every other complaint would mislead.
    sections = document.mapping(document.root, "")
    version = sections.get("version")
    if version is None:
        raise document.error(
            line_of(document.root), f"no version; expected 'version: {VERSION}' in the file."
        )
    node = version.node
    if not isinstance(node, yaml.ScalarNode) or node.style or node.value != str(VERSION):
        raise document.error(version.line, f"version: got {seen(node)}; expected {VERSION}.")
    return document.mapping(document.root, "", SECTIONS)


def does_inherit(document: Document, sections: dict[str, Entry]) -> bool:
    if "inherit" not in sections:
        return True
    return document.scalar(INHERIT, sections["inherit"].node, "inherit") == "default"


def read_text(
    document: Document, sections: dict[str, Entry], inherited: TextSettings
) -> TextSettings:
    """The `text` section over what was inherited, key by key."""
    if "text" not in sections:
        return inherited
    entries = document.mapping(sections["text"].node, "text", TEXT)
    values: dict[str, Any] = {
        key: document.scalar(TEXT[key], entry.node, f"text.{key}") for key, entry in entries.items()
    }
    if "source" in values:
        values["source"] = _text_source(document, entries["source"].line, values["source"])
    return dataclasses.replace(inherited, **values)


def _text_source(document: Document, line: int, source: str) -> str | Path:
    if source in TEXT_SOURCES:
        return source
    expected = f"expected {', '.join(TEXT_SOURCES)} or a path ending in {', '.join(TEXT_SUFFIXES)}"
    if Path(source).suffix.lower() not in TEXT_SUFFIXES:
        hint = did_you_mean(source, TEXT_SOURCES)
        raise document.error(line, f"text.source: got {shown(source)}; {expected}.{hint}")
    path = _beside(document, source)
    if not path.is_file():
        raise document.error(
            line, f"text.source: no such file: got {shown(source)}; {expected}, relative to this."
        )
    return path


def read_runtime(
    document: Document, sections: dict[str, Entry], inherited: RuntimeSettings
) -> RuntimeSettings:
    """The `runtime` section over what was inherited, key by key."""
    if "runtime" not in sections:
        return inherited
    entries = document.mapping(sections["runtime"].node, "runtime", RUNTIME)
    values: dict[str, Any] = {
        key: document.scalar(RUNTIME[key], entry.node, f"runtime.{key}")
        for key, entry in entries.items()
    }
    if "python" in values:
        path = _beside(document, values["python"])
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise document.error(
                entries["python"].line,
                f"runtime.python: got {shown(values['python'])}; expected an executable file, "
                "absolute or relative to this file.",
            )
        values["python"] = path
    return dataclasses.replace(inherited, **values)


def _beside(document: Document, written: str) -> Path:
    return document.path.absolute().parent / written


def read_layers(document: Document, sections: dict[str, Entry]) -> Iterator[Layer]:
    """The file's layers in order of rising precedence: limits, schemes, artifacts."""
    if "limits" in sections:
        limits = _limits(document, sections["limits"].node, "limits")
        yield Layer(scope="all", limits=limits)
    if "schemes" in sections:
        first_lines: dict[str, int] = {}
        for entry in document.mapping(sections["schemes"].node, "schemes").values():
            scheme = entry.key.casefold()
            if scheme in first_lines:
                raise document.error(
                    entry.line,
                    f"duplicate key {shown(entry.key)} in schemes, first on line "
                    f"{first_lines[scheme]} (case does not matter). Remove one.",
                )
            first_lines[scheme] = entry.line
            limits = _limits(document, entry.node, f"schemes.{entry.key}")
            yield Layer(scope="scheme", pattern=scheme, limits=limits)
    if "artifacts" in sections:
        for entry in document.mapping(sections["artifacts"].node, "artifacts").values():
            limits = _limits(document, entry.node, f"artifacts.{entry.key}")
            yield Layer(scope="artifact", pattern=entry.key, limits=limits)


def _limits(document: Document, node: yaml.Node, where: str) -> dict[str, Limit | None]:
    limits: dict[str, Limit | None] = {}
    for entry in document.mapping(node, where).values():
        if entry.key not in CHECKS:
            raise document.error(
                entry.line,
                f"unknown check {shown(entry.key)} in {where}.{did_you_mean(entry.key, CHECKS)} "
                f"Valid: {', '.join(CHECKS)}.",
            )
        limits[entry.key] = _limit(document, entry, CHECKS[entry.key])
    return limits


def _limit(document: Document, entry: Entry, check: Check) -> Limit | None:
    node, name, bound = entry.node, check.name, check.bound
    if isinstance(node, yaml.ScalarNode):
        if node.value == OFF:
            return None
        raise document.error(
            entry.line,
            f"{name}: got {seen(node)}; expected a mapping such as {{{bound}: ...}}, "
            f"or {OFF} to drop an inherited limit.",
        )
    keys = limit_keys(check)
    wrong_side = "min" if bound == "max" else "max"
    entries = document.mapping(node, name)
    if wrong_side in entries:
        worse = "more" if bound == "max" else "less"
        raise document.error(
            entries[wrong_side].line,
            f"{name}: got {wrong_side}; expected {bound}: {worse} is worse.",
        )
    entries = document.mapping(node, name, keys)
    values: dict[str, Any] = {
        key: document.scalar(keys[key], value.node, f"{name}.{key}")
        for key, value in entries.items()
    }
    if bound not in values:
        raise document.error(entry.line, f"{name}: no bound; expected {bound}.")
    values.pop("unit", None)
    source = SourceLine(document.shown, entry.line)
    return Limit(check=name, source=source, **{"rule": "certify", **values})
