"""A YAML file as nodes that know their lines, with everything refused that hides a mistake.

PyYAML's `safe_load` keeps the last of two equal keys, follows aliases into billions of nodes,
recurses as deep as the file says, and forgets the lines. So the file is composed, not loaded:
size, depth, anchors and tags are checked on the way, duplicate keys by `reading.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from qgate.errors import ThresholdsError
from qgate.records import SourceLine
from qgate.thresholds.values import shown
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_FILE_BYTES = 1_000_000
_DEEPEST = 20
_NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key and its value in a mapping."""

    key: str
    line: int
    """Of the key, counted from 1."""
    node: yaml.Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One thresholds file and what it takes to complain about it."""

    path: Path
    shown: str
    digest: str
    root: yaml.Node
    is_shipped: bool = False

    def source(self, line: int) -> SourceLine:
        """What a limit says of where it was written."""
        return SourceLine(self.shown, line, self.is_shipped)

    def error(self, line: int, message: str) -> ThresholdsError:
        # a message names keys, which may be of any characters
        return ThresholdsError(f"{self.shown}:{line}: {printable(message)}")

    @property
    def directory(self) -> Path:
        """That paths in the file start from."""
        return self.path.absolute().parent


def read_document(path: Path, displayed: str, *, is_shipped: bool = False) -> Document:
    """Read and compose one file.

    Raises:
        ThresholdsError: no such file, unreadable, too large, not UTF-8, not YAML, empty, or with
            anchors, aliases, tags or too deep nesting.
    """
    if not path.is_file():
        problem = "is not a file" if path.exists() else "no such thresholds file"
        raise ThresholdsError(f"{displayed}: {problem}. Name a YAML file.")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ThresholdsError(f"{displayed}: cannot be read: {error.strerror}.") from None
    if len(data) > _LARGEST_FILE_BYTES:
        raise ThresholdsError(
            f"{displayed}:1: got more than {_LARGEST_FILE_BYTES} bytes; expected a short file."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ThresholdsError(
            f"{displayed}:{line}: got byte 0x{data[error.start]:02x}; expected UTF-8 text."
        ) from None
    root = _compose(text, displayed)
    if root is None or is_null(root):
        raise ThresholdsError(
            f"{displayed}:1: got an empty file; expected limits: this is a gate that checks "
            "nothing. Begin with 'version: 1'."
        )
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Document(path=path, shown=displayed, digest=digest, root=root, is_shipped=is_shipped)


def _compose(text: str, displayed: str) -> yaml.Node | None:
    line = 1
    try:
        loader = _Composer(text)
        try:
            return loader.get_single_node()
        finally:
            line = loader.line + 1
            loader.dispose()
    except _Refused as refusal:
        raise ThresholdsError(f"{displayed}:{refusal}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ThresholdsError(
            f"{displayed}:{line}: got character {error.character:#04x}; expected printable text."
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = " ".join(str(error.problem or error.context).split())
        raise ThresholdsError(
            f"{displayed}:{line}: not valid YAML at column {column}: {printable(problem)}."
        ) from None
    except (ValueError, OverflowError):  # raised by PyYAML, such as for "\U00110000"
        raise ThresholdsError(
            f"{displayed}:{line}: not valid YAML: got a number or a character that cannot"
            " be; expected one that can."
        ) from None


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """YAML that is valid and unwelcome; the message begins with the line."""


class _Composer(yaml.SafeLoader):
    """Composes nodes, but neither follows aliases nor recurses deeper than limits need."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:
            raise _Refused(f"{line}: got an anchor or alias; expected every value written out.")
        if getattr(event, "tag", None) is not None:
            raise _Refused(f"{line}: got the tag {shown(event.tag)}; expected plain values.")
        if self.depth >= _DEEPEST:
            raise _Refused(f"{line}: got more than {_DEEPEST} levels; limits need four.")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def seen(node: yaml.Node) -> str:
    """What a node is, for an error line."""
    if is_null(node):
        return "nothing"
    if isinstance(node, yaml.ScalarNode):
        return shown(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
