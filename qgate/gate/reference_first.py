"""The reference is asked first: what it cannot do is never asked of an artifact.

Three questions, each cheaper than asking both sides everything:

    scout        a small part of a probe, for those that have one. `narrowed` makes of its answers
                 the probe that is asked: members that the reference has not mastered are gone
    whole        the reference's answers, read against themselves: a row that says nothing about
                 this model says so there (`qgate.measure.parts`)
    row          where one probe fills several rows, each of them alone

All of them raise `NotApplicable`, which names what was got and what was needed. Only the reference
decides, so that a row is left out for every artifact of a model or for none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from qgate.measure.probes import Asking, Probe
    from qgate.runtimes.requests import Outcome, Work


@runtime_checkable
class Scouting(Protocol):
    """A probe that can tell by a part of it what is worth asking."""

    def scout(self) -> Asking | None:
        """What the reference is asked first; None where a part of it would tell nothing."""

    def narrowed(self, work: Work, outcome: Outcome) -> Probe:
        """The probe that is asked, by the reference's answers to the scout.

        Raises:
            NotApplicable: nothing is.
        """


@runtime_checkable
class ManyRows(Protocol):
    """A probe with rows that the reference may be able to fill one by one."""

    def require_reference(self, check: str, work: Work, outcome: Outcome) -> None:
        """Refuse a row in which the reference's answers leave nothing to lose.

        Raises:
            NotApplicable: it is such a row.
        """
