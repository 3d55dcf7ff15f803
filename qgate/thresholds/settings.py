"""From a document's nodes to settings: what the sections say that hold no limits."""

from __future__ import annotations

import dataclasses
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml

from qgate.thresholds.grammar import (
    INHERIT,
    OTHER_RUNTIME,
    RUNTIME,
    RUNTIMES,
    SECTIONS,
    TEXT,
    TEXT_SOURCES,
    TEXT_SUFFIXES,
    VERSION,
)
from qgate.thresholds.model import (
    EdgeSettings,
    LatencySettings,
    MemorySettings,
    RuntimeOptions,
    RuntimeSettings,
    TextSettings,
)
from qgate.thresholds.values import did_you_mean, shown
from qgate.thresholds.yaml_document import Document, Entry, line_of, seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.thresholds.values import Leaf

_Settings = TypeVar("_Settings", EdgeSettings, LatencySettings, MemorySettings)


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
    node = sections["text"].node
    values = document.values(node, "text", TEXT)
    if "source" in values:
        line = document.mapping(node, "text")["source"].line
        values["source"] = _text_source(document, line, values["source"])
    return dataclasses.replace(inherited, **values)


def _text_source(document: Document, line: int, source: str) -> str | Path:
    if source in TEXT_SOURCES:
        return source
    expected = f"expected {', '.join(TEXT_SOURCES)} or a path ending in {', '.join(TEXT_SUFFIXES)}"
    if Path(source).suffix.lower() not in TEXT_SUFFIXES:
        hint = did_you_mean(source, TEXT_SOURCES)
        raise document.error(line, f"text.source: got {shown(source)}; {expected}.{hint}")
    path = document.beside(source)
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
    node = sections["runtime"].node
    values = document.values(node, "runtime", RUNTIME)
    if "python" in values:
        values["python"] = _interpreter(document, node, "runtime", values["python"])
    return dataclasses.replace(inherited, **values)


def read_runtimes(
    document: Document, sections: dict[str, Entry], inherited: Mapping[str, RuntimeOptions]
) -> Mapping[str, RuntimeOptions]:
    """The `runtimes` section over what was inherited, key by key of each runtime.

    Raises:
        ThresholdsError: a runtime that is not installed, a key that it does not have.
    """
    if "runtimes" not in sections:
        return inherited
    known = (*RUNTIMES, *(entry.name for entry in entry_points(group="qgate.runtimes")))
    merged = dict(inherited)
    for entry in document.mapping(sections["runtimes"].node, "runtimes", known).values():
        where = f"runtimes.{entry.key}"
        values = document.values(entry.node, where, RUNTIMES.get(entry.key, OTHER_RUNTIME))
        before = inherited.get(entry.key, RuntimeOptions())
        python = before.python
        if "python" in values:
            python = _interpreter(document, entry.node, where, values.pop("python"))
        merged[entry.key] = RuntimeOptions(python=python, options={**before.options, **values})
    return merged


def _interpreter(document: Document, node: yaml.Node, where: str, written: str) -> Path:
    path = document.beside(written)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise document.error(
            document.mapping(node, where)["python"].line,
            f"{where}.python: got {shown(written)}; expected an executable file, "
            "absolute or relative to this file.",
        )
    return path


def read_settings(
    document: Document,
    sections: dict[str, Entry],
    name: str,
    leaves: Mapping[str, Leaf],
    inherited: _Settings,
) -> _Settings:
    """A section of which every value stands for itself, over what was inherited, key by key."""
    if name not in sections:
        return inherited
    return dataclasses.replace(inherited, **document.values(sections[name].node, name, leaves))
