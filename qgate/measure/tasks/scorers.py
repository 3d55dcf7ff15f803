"""A task's own scorer in Python: `score: module:function`, or the name of one.

Names are of `qgate_scorers` in a project's `conftest.py`, and of the entry points `qgate.scorers`.

It is called as score(answer, expected) for every generated answer of both sides, in this process,
and returns how good the answer is: True or False, or a number from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError, ThresholdsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

GROUP = "qgate.scorers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """A function of somebody else's, whose mistakes are errors of one line."""

    name: str
    function: Callable[[str, str], Any]

    def __call__(self, answer: str, expected: str) -> float:
        """How good an answer is, from 0 to 1.

        Raises:
            MeasurementError: the function failed, or returned something else.
        """
        try:
            found = float(self.function(answer, expected))
        except Exception as error:  # whatever a stranger's function raises
            raise MeasurementError(f"score {self.name}: {type(error).__name__}: {error}") from error
        if math.isnan(found) or not 0 <= found <= 1:
            raise MeasurementError(f"score {self.name}: got {found}; expected a number from 0 to 1")
        return found


def find_scorer(name: str, where: str, known: Mapping[str, object]) -> Scorer:
    """The scorer of that name.

    Args:
        name: `module:function`, or one that is known or of an entry point.
        where: file, line and key that name it.
        known: the project's own, by name.

    Raises:
        ThresholdsError: there is none, or it cannot be imported or called.
    """
    function = known[name] if name in known else _load(name, where, known)
    if not callable(function):
        raise ThresholdsError(
            f"{where}: got {name}, which is {type(function).__name__}; expected a function"
        )
    return Scorer(name=name, function=function)


def _load(name: str, where: str, known: Iterable[str]) -> object:
    installed = entry_points(group=GROUP)
    entry = (
        EntryPoint(name, name, GROUP)
        if ":" in name
        else next(iter(installed.select(name=name)), None)
    )
    if entry is None:
        names = ", ".join(sorted({*installed.names, *known})) or "none"
        raise ThresholdsError(
            f"{where}: got {name}; expected module:function, a name in qgate_scorers of"
            f" conftest.py, or an entry point of {GROUP}. Known: {names}"
        )
    try:
        return entry.load()
    except Exception as error:  # whatever importing a stranger's module raises
        raise ThresholdsError(
            f"{where}: got {name}: {type(error).__name__}: {error}; expected module:function that"
            " can be imported"
        ) from error
