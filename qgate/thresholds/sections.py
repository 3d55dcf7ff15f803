"""From a document's nodes to its sections, and to those of them that hold no limits."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import yaml
from pydantic import Field, create_model

from qgate.thresholds.fields import Expected, Unit
from qgate.thresholds.settings import Inheritance, Interpreter, RuntimeOptions, Section
from qgate.thresholds.yaml_document import line_of, seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from qgate.thresholds.reading import Reader
    from qgate.thresholds.yaml_document import Entry

VERSION = 1
SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "version": "The version of this format: 1.",
        "inherit": str(Inheritance.model_fields["inherit"].description),
        "text": "What perplexity and divergence are measured on.",
        "runtime": "What serves the artifacts while they are measured.",
        "runtimes": "By the runtime's name: its own interpreter, and what only it understands.",
        "tasks": "What the model is used for: a file of items each, or a task of lm-eval by its "
        "name, which reference and artifact answer; each makes a row accuracy.NAME for every "
        "artifact.",
        "edge": "How long the inputs and answers of edge.* are.",
        "latency": "The requests of latency.*.",
        "memory": "What is served for memory.*.",
        "limits": "Limits for every artifact, by check.",
        "bands": "Limits by the bits that an artifact's weights really have (a band or a list of "
        "them); they win over `limits` of the same file.",
        "schemes": "Limits by quantization scheme, as the artifact's file names it (in any case; "
        "globs and lists such as `Q5_K_*, Q6_K`); they win over `bands` of the same file, and "
        "later ones over earlier ones.",
        "artifacts": "Limits by artifact id (globs such as llama-*); they win over `schemes` of "
        "the same file, and later ones over earlier ones.",
    }
)
_Settings = TypeVar("_Settings", bound=Section)
_PYTHON = (
    "Another interpreter for this runtime alone, relative to this file; absent: that of "
    "`runtime`, else this one."
)


def read_sections(reader: Reader) -> dict[str, Entry]:
    """The file's sections, after its version is known to be ours.

    Raises:
        ThresholdsError: no or another version: every other complaint about such a file misleads.
    """
    document = reader.document
    sections = reader.mapping(document.root, "", SECTIONS)
    version = sections.get("version")
    if version is None:
        reader.finish()  # a misspelt one
        raise document.error(
            line_of(document.root), f"no version; expected 'version: {VERSION}' in the file."
        )
    node = version.node
    if not isinstance(node, yaml.ScalarNode) or node.style or node.value != str(VERSION):
        raise document.error(version.line, f"version: got {seen(node)}; expected {VERSION}.")
    return sections


def does_inherit(reader: Reader, sections: Mapping[str, Entry]) -> bool:
    """Whether the shipped limits apply where the file says nothing."""
    entries = {key: entry for key, entry in sections.items() if key == "inherit"}
    found = reader.check(entries, 1, "", Inheritance)
    return found is None or found.inherit == "default"


def read_settings(
    reader: Reader, sections: Mapping[str, Entry], name: str, inherited: _Settings
) -> _Settings:
    """A section over what was inherited, key by key."""
    if name not in sections:
        return inherited
    found = reader.read(sections[name], name, type(inherited))
    return inherited.model_copy(update=_written(found)) if found else inherited


def _written(found: BaseModel) -> dict[str, Any]:
    return {key: getattr(found, key) for key in found.model_fields_set}


def section_of_runtime(options: type) -> type[Section]:
    """What can be set for a runtime.

    Args:
        options: a dataclass of scalars. The metadata of each field are `description`, the
            constraints of pydantic's `Field` (a pattern is of the whole text), `unit`, `expected`.
    """
    kinds = get_type_hints(options)
    fields: dict[str, Any] = {
        "python": (Interpreter | None, Field(default=None, description=_PYTHON)),
        **{
            field.name: _field(kinds[field.name], field.default, **field.metadata)
            for field in dataclasses.fields(options)
        },
    }
    return create_model(options.__name__, __base__=Section, **fields)


def _field(
    kind: Any,  # noqa: ANN401 - a type, such as float | None
    default: object,
    *,
    unit: str = "",
    expected: str = "",
    pattern: str | None = None,
    **constraints: Any,  # noqa: ANN401 - those of Field
) -> tuple[Any, Any]:
    anchored = f"^(?:{pattern})$" if pattern else None
    if unit:
        kind = Annotated[kind, Unit(unit)]
    if expected:
        kind = Annotated[kind, Expected(expected)]
    return kind, Field(default=default, pattern=anchored, **constraints)


def read_runtimes(
    reader: Reader,
    sections: Mapping[str, Entry],
    inherited: Mapping[str, RuntimeOptions],
    known: Mapping[str, type],
) -> Mapping[str, RuntimeOptions]:
    """The `runtimes` section over what was inherited, key by key of each runtime.

    Args:
        reader: of the file.
        sections: of the file.
        inherited: by runtime.
        known: the options of every runtime that there is.
    """
    if "runtimes" not in sections:
        return inherited
    merged = dict(inherited)
    for entry in reader.mapping(sections["runtimes"].node, "runtimes", known).values():
        model = section_of_runtime(known[entry.key])
        found = reader.read(entry, f"runtimes.{entry.key}", model)
        if found is not None:
            before, written = inherited.get(entry.key, RuntimeOptions()), _written(found)
            python = written.pop("python", before.python)
            options = {**before.options, **written}
            merged[entry.key] = RuntimeOptions(python=python, options=options)
    return merged
