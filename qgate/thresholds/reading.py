"""From a document's nodes to pydantic models; every mistake of a file is noted with its line."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from qgate.errors import ThresholdsError
from qgate.thresholds.fields import fields_of
from qgate.thresholds.values import cut, did_you_mean, shown
from qgate.thresholds.yaml_document import Entry, is_null, line_of, seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

    from qgate.thresholds.fields import Scalar
    from qgate.thresholds.yaml_document import Document

_Model = TypeVar("_Model", bound=BaseModel)
OFF: Literal["off"] = "off"
"""Written in place of a limit or a task: the inherited one is dropped on purpose."""
_MOST_SHOWN = 50
_NONE: Mapping[str, str] = MappingProxyType({})
_PROBLEMS = MappingProxyType(
    {"path_not_file": "no such file: ", "path_not_directory": "no such directory: "}
)


class Reader:
    """Reads one document and goes on after a mistake; `finish` reports them all."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._mistakes: list[tuple[int, str]] = []

    def note(self, line: int, message: str) -> None:
        self._mistakes.append((line, message))

    def finish(self) -> None:
        """Raise what was noted.

        Raises:
            ThresholdsError: one line a mistake, in the order of the file's lines.
        """
        if not self._mistakes:
            return
        in_order = sorted(self._mistakes, key=lambda mistake: mistake[0])
        lines = [str(self.document.error(*mistake)) for mistake in in_order[:_MOST_SHOWN]]
        if len(in_order) > _MOST_SHOWN:
            lines.append(f"{self.document.shown}: and {len(in_order) - _MOST_SHOWN} more mistakes.")
        raise ThresholdsError("\n".join(lines))

    def mapping(
        self,
        node: yaml.Node,
        where: str,
        valid: Iterable[str] | None = None,
        near_misses: Mapping[str, str] = _NONE,
    ) -> dict[str, Entry]:
        """The entries of a mapping by key, in file order, without those that are wrong.

        Args:
            node: what should be a mapping.
            where: its dotted name, empty for the whole file.
            valid: the keys that it may have; None: any.
            near_misses: what to say of keys that are easily mistaken for a valid one.
        """
        entries: dict[str, Entry] = {}
        if not isinstance(node, yaml.MappingNode):
            self.note(line_of(node), f"{_of(where)}got {seen(node)}; expected a mapping.")
            return entries
        valid = None if valid is None else tuple(valid)
        inside = f" in {where}" if where else ""
        for key_node, value in node.value:
            line, key = line_of(key_node), key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or not key:
                self.note(line, f"got {seen(key_node)} as a key{inside}; expected a word.")
            elif key in entries:
                first = f"first on line {entries[key].line}"
                self.note(line, f"duplicate key {shown(key)}{inside}, {first}. Remove one.")
            elif key in near_misses:
                self.note(line, f"{_of(where)}{near_misses[key]}")
            elif valid is not None and key not in valid:
                hint = f"{did_you_mean(key, valid)} Valid: {', '.join(valid)}."
                self.note(line, f"unknown key {shown(key)}{inside}.{hint}")
            else:
                entries[key] = Entry(key=key, line=line, node=value)
        return entries

    def read_or_off(
        self,
        entry: Entry,
        where: str,
        model: type[_Model],
        *,
        example: str,
        inherited: str,
        near_misses: Mapping[str, str],
        valid: Iterable[str] | None = None,
    ) -> _Model | Literal["off"] | None:
        """As `read`; or `off`, which drops something that is inherited."""
        if not isinstance(entry.node, yaml.ScalarNode):
            return self.read(entry, where, model, near_misses, valid)
        if entry.node.value == OFF:
            return OFF
        self.note(
            entry.line,
            f"{where}: got {seen(entry.node)}; expected a mapping such as {example}, or {OFF} to "
            f"drop an inherited {inherited}.",
        )
        return None

    def read(
        self,
        entry: Entry,
        where: str,
        model: type[_Model],
        near_misses: Mapping[str, str] = _NONE,
        valid: Iterable[str] | None = None,
    ) -> _Model | None:
        """The model of a mapping of scalars; None where something in it is wrong."""
        before = len(self._mistakes)
        entries = self.mapping(entry.node, where, valid or model.model_fields, near_misses)
        found = self.check(entries, entry.line, where, model, before=before)
        return found if len(self._mistakes) == before else None

    def check(
        self,
        entries: Mapping[str, Entry],
        line: int,
        where: str,
        model: type[_Model],
        *,
        before: int | None = None,
    ) -> _Model | None:
        """The same for entries of which every key is one of the model's.

        `before` is how many mistakes there were before the first in this mapping.
        """
        before = len(self._mistakes) if before is None else before
        fields = fields_of(model)
        values: dict[str, object] = {}
        for key, one in entries.items():
            node, field = one.node, fields[key]
            if isinstance(node, yaml.ScalarNode) and node.value and not is_null(node):
                values[key] = field.value(
                    node.value, self.document.directory, is_quoted=node.style is not None
                )
            else:
                place = _dotted(where, key)
                self.note(one.line, f"{place}: got {seen(node)}; expected {field.expected}.")
        is_whole = len(self._mistakes) == before
        try:
            return model.model_validate(values, strict=True)
        except OSError as error:  # of a path that no file system takes
            got = f"got {shown(str(error.filename))}"
            self.note(line, f"{_of(where)}{error.strerror}: {got}; expected a path that exists.")
        except ValidationError as error:
            for key, wrong in _first_of_each(error).items():
                if key in values:
                    one = entries[key]
                    self.note(
                        one.line, _in_words(wrong, _dotted(where, key), one.node, fields[key])
                    )
                elif is_whole and key:  # else it is probably this key that was misspelt
                    self.note(line, f"{_of(where)}no {key}; expected {fields[key].expected}.")
                elif is_whole:
                    self.note(line, f"{_of(where)}{_reason(wrong)}")
        return None


def _of(where: str) -> str:
    return f"{where}: " if where else ""


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _first_of_each(error: ValidationError) -> dict[str, ErrorDetails]:
    """By key: pydantic tells one for each kind that a value may have. '' is the whole mapping."""
    found: dict[str, ErrorDetails] = {}
    for one in error.errors(include_url=False):
        found.setdefault(str(one["loc"][0]) if one["loc"] else "", one)
    return found


def _in_words(error: ErrorDetails, where: str, node: yaml.Node, field: Scalar) -> str:
    """What is wrong with the value of one key."""
    assert isinstance(node, yaml.ScalarNode)
    is_quoted = node.style is not None
    problem = _PROBLEMS.get(error["type"], "")
    if error["type"] == "value_error" and (reason := _reason(error)):
        problem = f"{reason}: "
    got = cut(node.value) if field.is_plain(node.value, is_quoted=is_quoted) else seen(node)
    remedy = field.remedy(node.value, is_quoted=is_quoted)
    return f"{where}: {problem}got {got}; expected {field.expected}.{remedy}"


def _reason(error: ErrorDetails) -> str:
    """The words of a validator of ours or of a runtime's; else pydantic's own."""
    raised = error.get("ctx", {}).get("error")
    return str(raised if raised is not None else error["msg"])
