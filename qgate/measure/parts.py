"""A probe asked part by part: both sides' answers to the parts are read as one.

The units (prompts, items, documents) come in a random order that is always the same, or in the
probe's own where that is mixed already (`is_mixed`), in as many parts as there are looks. The same
part of the same probe is always the same work, so that what is stored of it is found again. The
reference answers a part before the artifact does: what it does not know is asked of no artifact.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from qgate import stats
from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.looks import InterimResult, Rows
from qgate.measure.tasks.graded import Graded
from qgate.runtimes.messages import Answers, Batch
from qgate.runtimes.requests import Outcome, Pair, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.measure.measurement import Measurement
    from qgate.measure.probes import Probe

_SEED = 0


class Divisible(Protocol):
    """A probe of which a part can be asked."""

    @property
    def size(self) -> int:
        """Units."""

    def take(self, numbers: Sequence[int]) -> Divisible:
        """The same probe with these of its units, in this order."""


class Sides(Protocol):
    """Who answers; the label of a part is always of the same units."""

    def ask_reference(self, probe: Probe, label: str) -> tuple[Work, Outcome]:
        """The work of a part, and what the reference answers."""

    def ask_artifact(self, probe: Probe, work: Work, label: str) -> Outcome:
        """What the artifact answers to the same work."""


def is_divisible(probe: Probe) -> bool:
    """Whether it may be asked in parts."""
    return hasattr(probe, "take") and bool(getattr(probe, "is_sequential", True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of a probe."""

    measured: Measurement
    reference: tuple[Work, Outcome] | None
    """What was asked, and what the reference answered; None of a probe that grades each answer."""


def ask_in_parts(probe: Probe, rows: Rows, sides: Sides) -> Answered:
    """Ask until the limits are decided, or nothing is left to ask.

    Args:
        probe: what is asked.
        rows: with their limits; where none has one, everything is asked at once.
        sides: who is asked.

    Raises:
        QGateError: whatever kept a side from answering.
        NotApplicable: the reference does not know what is asked; the artifact was not asked then.
    """
    asking = _Asking(probe, _ends(probe, rows), sides)
    asking.require_above_chance()
    for look in range(1, len(asking.ends) + 1):
        asking.ask_artifact(look)
        looks = stats.Looks(ends=asking.ends, look=look)
        try:
            measured = asking.read(look)
        except MeasurementError:
            if looks.is_last:
                raise
            continue  # too little so far; what is wrong with the whole shows at its end
        looked = (
            measured if len(asking.ends) == 1 else InterimResult(measured=measured, looks=looks)
        )
        if looks.is_last or rows.are_decided(looked):
            return Answered(measured=looked, reference=asking.of_reference(look))
    raise AssertionError("a plan ends with the last unit")


def _ends(probe: Probe, rows: Rows) -> tuple[int, ...]:
    size = int(getattr(probe, "size", 1))
    if rows.can_stop and is_divisible(probe):
        fewest = getattr(probe, "fewest_a_look", None)  # of units that hold many samples each
        return stats.look_ends(size) if fewest is None else stats.look_ends(size, fewest=fewest)
    return (size,)


class _Asking:
    """One probe and what was answered to its parts so far."""

    def __init__(self, probe: Probe, ends: tuple[int, ...], sides: Sides) -> None:
        self.ends = ends
        self._probe, self._sides = probe, sides
        self._order = _order(probe)
        self._reading = _Grades() if hasattr(probe, "grade") else _Answers()
        self._works: list[Work] = []

    def _units(self, begin: int, end: int) -> Probe:
        if len(self.ends) == 1:
            return self._probe
        return cast("Probe", cast("Divisible", self._probe).take(self._order[begin:end]))

    def _part(self, look: int) -> tuple[Probe, str]:
        begin = self.ends[look - 2] if look > 1 else 0
        label = f"part {look} of {len(self.ends)}" if len(self.ends) > 1 else ""
        return self._units(begin, self.ends[look - 1]), label

    def _ask_reference(self, look: int) -> None:
        """Have the reference answer all parts up to a look."""
        for number in range(len(self._works) + 1, look + 1):
            part, label = self._part(number)
            work, outcome = self._sides.ask_reference(part, label)
            self._works.append(work)
            self._reading.add("reference", part, work, outcome)

    def require_above_chance(self) -> None:
        """Refuse what the reference does not know, before an artifact is asked anything.

        A task by all of its items, for its share of right answers decides; so too where all of the
        reference's answers choose what is judged (`settled`). Anything else by its first part, and
        in doubt by all of them.
        """
        self._ask_reference(1)
        settle = getattr(self._probe, "settled", None)
        if settle is not None and isinstance(self._reading, _Answers):
            self._ask_reference(len(self.ends))
            self._probe = settle(*self._reading.of_reference())
            return
        if isinstance(self._reading, _Answers):
            try:
                self._reading.read(self._units(0, self.ends[0]), "reference", 1)
            except MeasurementError as error:
                if len(self.ends) == 1:
                    raise
                if not isinstance(error, NotApplicable):
                    return  # too little so far
            else:
                return
        self._ask_reference(len(self.ends))
        self._reading.read(self._units(0, self.ends[-1]), "reference", len(self.ends))

    def ask_artifact(self, look: int) -> None:
        self._ask_reference(look)
        part, label = self._part(look)
        outcome = self._sides.ask_artifact(part, self._works[look - 1], label)
        self._reading.add("artifact", part, self._works[look - 1], outcome)

    def read(self, look: int) -> Measurement:
        """Both sides' answers up to a look as the samples of the rows."""
        return self._reading.read(self._units(0, self.ends[look - 1]), "artifact", look)

    def of_reference(self, look: int) -> tuple[Work, Outcome] | None:
        """What was asked up to a look, and what the reference answered."""
        if not isinstance(self._reading, _Answers):
            return None
        theirs = self._reading.sides["reference"][:look]
        return join_works(self._works[:look]), join_outcomes(theirs)


def _order(probe: Probe) -> list[int]:
    size = int(getattr(probe, "size", 1))
    if getattr(probe, "is_mixed", False):
        return list(range(size))
    return random.Random(_SEED).sample(range(size), size)  # noqa: S311 - no secret


@dataclass(slots=True)
class _Grades:
    """Of a probe that grades each answer: a part is graded once."""

    sides: dict[str, list[Graded]] = field(
        default_factory=lambda: {"artifact": [], "reference": []}
    )

    def add(self, side: str, part: Any, work: Work, outcome: Outcome) -> None:  # noqa: ANN401
        self.sides[side].append(part.grade(work, outcome))

    def read(self, so_far: Any, side: str, look: int) -> Measurement:  # noqa: ANN401
        own, theirs = (Graded.joined(self.sides[one][:look]) for one in (side, "reference"))
        measured: Measurement = so_far.compare(own, theirs)
        return measured


@dataclass(slots=True)
class _Answers:
    """Of a probe that reads all answers together."""

    works: list[Work] = field(default_factory=list)
    sides: dict[str, list[Outcome]] = field(
        default_factory=lambda: {"artifact": [], "reference": []}
    )

    def add(self, side: str, part: Any, work: Work, outcome: Outcome) -> None:  # noqa: ANN401
        if side == "reference":
            self.works.append(work)
        self.sides[side].append(outcome)

    def of_reference(self) -> tuple[Work, Outcome]:
        """All that was asked of the reference, and what it answered."""
        return join_works(self.works), join_outcomes(self.sides["reference"])

    def read(self, so_far: Any, side: str, look: int) -> Measurement:  # noqa: ANN401
        own, theirs = (join_outcomes(self.sides[one][:look]) for one in (side, "reference"))
        pair = Pair(work=join_works(self.works[:look]), reference=theirs, artifact=own)
        measured: Measurement = so_far.read(pair)
        return measured


def join_works(parts: Sequence[Work]) -> Work:
    """Parts of one probe's work as one: a batch of each part makes one batch."""
    if len(parts) == 1:
        return parts[0]
    return Work(
        spans=tuple(span for part in parts for span in part.spans),
        batches=tuple(
            Batch(
                prompts=tuple(prompt for batch in same for prompt in batch.prompts),
                batch_size=same[0].batch_size,
            )
            for same in zip(*(part.batches for part in parts), strict=True)
        ),
        ranges=tuple(_shifted_ranges(parts)),
    )


def _shifted_ranges(parts: Sequence[Work]) -> Iterator[Any]:
    before = 0
    for part in parts:
        yield from (replace(scored, span=scored.span + before) for scored in part.ranges)
        before += len(part.spans)


def join_outcomes(parts: Sequence[Outcome]) -> Outcome:
    """What one side answered to the parts, as its answer to the joined work."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    return Outcome(
        nll_nats=tuple(nll for part in parts for nll in part.nll_nats),
        is_top=tuple(tops for part in parts for tops in part.is_top),
        answers=tuple(
            Answers(
                ids=tuple(ids for answers in same for ids in answers.ids),
                ends=np.concatenate([answers.ends for answers in same]),
                texts=tuple(text for answers in same for text in answers.texts),
                margins_nats=tuple(one for answers in same for one in answers.margins_nats),
            )
            for same in zip(*(part.answers for part in parts), strict=True)
        ),
        end_tokens=parts[0].end_tokens,
    )
