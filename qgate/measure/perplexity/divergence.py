"""An artifact on the reference's tokens: likelihoods and divergences, paired with the reference.

Windows are scored in parts, in the order of the reference, which is random: scoring stops once
every row is decided that rests on them. A part is always of the same windows. Where all of them
leave a row open whose value is far from its limit (`Rows.call_for_more`), the reference writes as
many windows again, which are scored as an extension, unless a row FAILs. One conversation of 32 in
which a sound artifact leaves the reference's way is enough for that: of SmolLM2's Q8_0 one seed of
20. Rows that were certain before keep what they had.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate import stats
from qgate.errors import MeasurementError, NotApplicable, with_subject
from qgate.measure.looks import estimate_at
from qgate.measure.perplexity.rows import ROWS, explain
from qgate.reference.distributions import pair, require_same_vocabulary, score_request
from qgate.runtimes.messages import Scored
from qgate.runtimes.verbs import SCORE
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qgate.measure.looks import Rows
    from qgate.records import Estimate
    from qgate.reference.distributions import Reference
    from qgate.reference.samples import Samples
    from qgate.runtimes.served_model import ServedModel
    from qgate.stats import Looks

_SHARES = (0.5, 1.0)
"""Of the windows: when the rows are looked at."""
_FEWEST_WINDOWS = 16
"""Fewer decide nothing at an early look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """An artifact's samples, with what the report tells about getting them."""

    samples: Samples
    seconds: float
    decode_seconds: float
    looks: Looks | None = None
    """How far the windows were scored; None: all, as planned."""
    text: str = ""
    """The name of the text that was scored."""
    settled: Mapping[str, Divergence] = field(default_factory=dict)
    """What holds of rows that were certain before an extension, by check."""

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        if check in self.settled:
            return self.settled[check].estimate(check, level, parameters)
        if self.looks is None:
            return ROWS[check](self.samples, level=level)
        nominal = self.looks.nominal(level)
        found = estimate_at(self.looks, check, lambda: ROWS[check](self.samples, level=nominal))
        return self.looks.held(found, level)

    def details(self, check: str) -> dict[str, Any]:
        if check in self.settled:
            return self.settled[check].details(check)
        looks = {} if self.looks is None else self.looks.details("of_windows")
        said = {**explain(check, self.samples), **looks}
        return {**said, "text": self.text} if check == "perplexity.increase" else said

    def headline(self) -> dict[str, float]:
        return {
            "scoring_s": round(self.seconds, 3),
            "decode_s": round(self.decode_seconds, 3),
            "scored_tokens": float(len(self.samples.nll_nats)),
            "compared_positions": float(len(self.samples.kl_nats)),
        }


def measure_divergence(
    serving: ServedModel,
    reference: Reference,
    rows: Rows | None = None,
    extension: Callable[[], Reference] | None = None,
) -> Divergence:
    """Score the reference's windows with the artifact, paired with the stored reference.

    Args:
        serving: the artifact.
        reference: the reference.
        rows: what has to be decided; None, or without a limit: all windows are scored at once.
        extension: measures the reference on as many windows more; None: there are no more.

    Raises:
        QGateError: the artifact does not fit, or the runtime lost something.
    """
    require_same_vocabulary(serving.artifact, serving.load(), reference)
    if rows is None or not rows.can_stop:
        count = len(reference.windows.ids)
        return _joined(reference, [score_part(serving, reference, 0, count)], count, None)
    found = _until_decided(serving, reference, rows, can_extend=extension is not None)
    if extension is None or not rows.call_for_more(found):
        return found
    with suppress(NotApplicable):  # there is no more text
        more = extension()
        return _extended(serving, found, more, settled=dict.fromkeys(rows.decided(found), found))
    return found


def _until_decided(
    serving: ServedModel, reference: Reference, rows: Rows, *, can_extend: bool
) -> Divergence:
    """Score part after part until every row is certain, or no window is left."""
    count = len(reference.windows.ids)
    ends = window_ends(count)
    planned = (*ends, 2 * count) if can_extend else ends
    parts: list[Scored] = []
    for look, (begin, end) in enumerate(itertools.pairwise((0, *ends)), 1):
        parts.append(score_part(serving, reference, begin, end))
        looks = stats.Looks(ends=planned, look=look, has_extension=can_extend)
        found = _joined(reference, parts, end, looks)
        if looks.is_last or rows.are_decided(found):
            return found
    raise AssertionError("a plan ends with the last window")


def _extended(
    serving: ServedModel, found: Divergence, more: Reference, settled: Mapping[str, Divergence]
) -> Divergence:
    """What was found, with the windows of an extension."""
    count = len(more.windows.ids)
    scored = _joined(more, [score_part(serving, more, 0, count)], count, None)
    if found.looks is None:
        raise AssertionError("an extension is planned with the other looks")
    ends = (*found.looks.ends[:-1], found.looks.n + count)
    return Divergence(
        samples=found.samples.followed_by(scored.samples),
        seconds=found.seconds + scored.seconds,
        decode_seconds=found.decode_seconds + scored.decode_seconds,
        looks=stats.Looks(ends=ends, look=len(ends), has_extension=True),
        text=found.text,
        settled=settled,
    )


def window_ends(count: int) -> tuple[int, ...]:
    """How many windows are scored at each look."""
    ends = [round(count * share) for share in _SHARES]
    return tuple(end for end in ends if end >= _FEWEST_WINDOWS or end == count)


def score_part(serving: ServedModel, reference: Reference, begin: int, end: int) -> Scored:
    """What comes of windows begin..end in the artifact's child.

    Raises:
        QGateError: the runtime failed, or lost something.
    """
    from qgate.artifacts.digest import window_digests

    with serving.phase("perplexity"):
        scored = SCORE.ask(serving.host, score_request(reference, begin, end))
    if list(scored.digests) != window_digests(reference.windows.ids[begin:end]):
        other = MeasurementError(
            "the runtime scored other tokens than the reference's:"
            f" got {len(scored.digests)} windows; expected the {end - begin} that were sent"
        )
        raise with_subject(other, serving.artifact.id)
    return scored


def _joined(
    reference: Reference, parts: Sequence[Scored], end: int, looks: Looks | None
) -> Divergence:
    """The parts so far as the samples of the first windows."""
    reasons = [_why_partition(part, reference) for part in parts]
    scored = Scored(
        nll_nats=_joint([part.nll_nats for part in parts]),
        kl_nats=_joint([part.kl_nats for part in parts]),
        same_top=_joint([part.same_top for part in parts]),
        covered_mass=_joint(_masses(parts)),
        why_partition=next(filter(None, reasons), ""),
    )
    return Divergence(
        samples=pair(reference.leading(end), scored),
        seconds=sum(part.total_s for part in parts),
        decode_seconds=sum(part.decode_s for part in parts),
        looks=looks,
        text=reference.text.name,
    )


def _joint(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The values of all parts; None where a part has none."""
    known = [one for one in values if one is not None]
    return np.concatenate(known) if len(known) == len(values) else None


def _masses(parts: Sequence[Scored]) -> list[np.ndarray | None]:
    """Of each part; all mass of one that was compared over the whole vocabulary, if others not."""
    if all(part.covered_mass is None for part in parts):
        return [None]
    return [
        np.ones(len(part.kl_nats))
        if part.covered_mass is None and part.kl_nats is not None
        else part.covered_mass
        for part in parts
    ]


def _why_partition(scored: Scored, reference: Reference) -> str:
    """Why less than the whole vocabulary was compared; empty where it all was, or nobody says."""
    why = printable(str(scored.why_partition))
    if why or reference.stored.encoding != "top_k":
        return why
    return (
        "of the reference only its likeliest tokens are kept; delete its store to measure it again"
    )
