"""What every line of the checklist hands to the gate: estimates, and what stands behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from qgate.records import Estimate

Estimates = Mapping[str, "Estimate"]
"""The members of a family that one row judges together (languages, lengths), by their name; their
intervals hold simultaneously."""


class Measurement(Protocol):
    """Samples of one or more rows; whoever judges asks for the level, and does not measure."""

    def estimate(
        self, check: str, level: float, parameters: Mapping[str, float]
    ) -> Estimate | Estimates:
        """The row's number with its interval.

        Args:
            check: the row.
            level: coverage of the interval.
            parameters: what the limit says beside its bound, e.g. a percentile.

        Raises:
            MeasurementError: the samples do not carry it.
        """

    def details(self, check: str) -> dict[str, Any]:
        """What the report keeps beside the number: JSON values."""


@runtime_checkable
class Comparison(Measurement, Protocol):
    """Answers of both sides, where it is known how much an artifact could lose."""

    @property
    def min_reference(self) -> float | None:
        """The least share or score of the reference that the user set; None: not set."""

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate | None:
        """As `estimate`, of an artifact that lost everything; None for a row that knows no worst.

        A p-value is the smallest that there could be; None where that is not known.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one row found that holds or not: nothing is estimated."""

    check: str
    holds: bool
    text: str
    """Why, in one line."""
    details: dict[str, Any] = field(default_factory=dict)
    """JSON values only."""

    @property
    def message(self) -> str:
        """The line of the row."""
        return f"{self.check}: {self.text}"
