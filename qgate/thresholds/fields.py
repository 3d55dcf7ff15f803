"""What a field of a pydantic model takes, in the words of an error line and of the JSON schema.

Values are read by their text, not by YAML 1.1's guess: PyYAML reads `1:30` as 90, `010` as 8,
`1_000` as 1000 and `1e-3` as a string. Here a number is a JSON number, a flag is true or false, and
the rest is text; pydantic checks the value strictly.
"""

from __future__ import annotations

import math
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from qgate.thresholds.values import PLAIN_NUMBER, did_you_mean, how_to_write, unit_note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_SIGNS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
_MOST_DIGITS = 4000
"""Python refuses to read whole numbers of thousands."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Metadata of a number: what it counts in."""

    name: str


@dataclass(frozen=True, slots=True)
class Expected:
    """Metadata of a field: what it takes, where its type does not tell that to a reader."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A field of a model whose values are scalars."""

    kinds: tuple[type, ...]
    choices: tuple[str, ...]
    metadata: tuple[Any, ...]

    @classmethod
    def of(cls, info: FieldInfo) -> Scalar:
        """The field of a pydantic model, whether it may be absent or not."""
        parts = (*_parts(info.annotation), *info.metadata)
        return cls(
            kinds=tuple(part for part in parts if isinstance(part, type)),
            choices=tuple(part for part in parts if isinstance(part, str)),
            metadata=tuple(part for part in parts if not isinstance(part, type | str)),
        )

    @property
    def unit(self) -> str:
        return next((part.name for part in self.metadata if isinstance(part, Unit)), "")

    @property
    def is_number(self) -> bool:
        return bool({int, float} & {*self.kinds})

    @property
    def expected(self) -> str:
        """What it takes, for an error line."""
        for part in self.metadata:
            if isinstance(part, Expected):
                return part.what
        if self.choices:
            return " or ".join(self.choices)
        if not self.is_number:
            return "true or false" if bool in self.kinds else "a text"
        bounds = [
            f"{sign} {bound}"
            for name, sign in _SIGNS
            for part in self.metadata
            if (bound := getattr(part, name, None)) is not None
        ]
        kind = "a number" if float in self.kinds else "a whole number"
        return f"{kind} {' and '.join(bounds)}".rstrip() + unit_note(self.unit)

    def is_plain(self, text: str, *, is_quoted: bool) -> bool:
        """Whether a number is written where one is expected."""
        return self.is_number and not is_quoted and bool(PLAIN_NUMBER.fullmatch(text))

    def value(self, text: str, directory: Path, *, is_quoted: bool) -> object:
        """What pydantic is given for a scalar; its text where it is not of the field's kind.

        Args:
            text: as it is written.
            directory: that paths start from.
            is_quoted: quotes make a text of a number, and no difference to a text.
        """
        if text in self.choices:
            return text
        if Path in self.kinds:
            return directory / text
        if bool in self.kinds and not is_quoted:
            return {"true": True, "false": False}.get(text, text)
        is_whole = text.lstrip("-").isdigit()
        if self.is_plain(text, is_quoted=is_quoted) and not (is_whole and len(text) > _MOST_DIGITS):
            if is_whole:
                return int(text)
            number = float(text)
            return number if math.isfinite(number) else text
        return text

    def remedy(self, text: str, *, is_quoted: bool) -> str:
        """What to write instead, with a leading space; empty where nobody knows."""
        if self.is_number and not self.is_plain(text, is_quoted=is_quoted):
            return how_to_write(text, self.unit)
        return did_you_mean(text, self.choices)


def fields_of(model: type[BaseModel]) -> dict[str, Scalar]:
    """By the key that is written in a file."""
    return {name: Scalar.of(info) for name, info in model.model_fields.items()}


def _parts(annotation: object) -> Iterator[object]:
    """The types and metadata of a field, and the words that it may be."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from arguments
    elif origin is Annotated:
        yield from _parts(arguments[0])
        for part in arguments[1:]:
            yield from part.metadata if isinstance(part, FieldInfo) else (part,)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _parts(argument)
    elif annotation is not type(None):
        yield annotation
