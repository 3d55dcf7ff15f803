"""What a runtime tells of a prompt that hands out no logits: a few log-probabilities a token.

A served model tells, of each token of a prompt, its log-probability and its rank, and the likeliest
tokens there. Likelihoods come from that as they are; divergences over a partition of the vocabulary
(`qgate.runtimes.worker.partition_kl`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import Span

TOP = 128
"""So many of the reference's likeliest tokens are compared one by one at each position."""
SEARCHED = 2 * TOP
"""So many of an artifact's likeliest tokens are looked through for them."""
_ROUNDING_NATS = 1e-4
"""What float32 and a library's own log-softmax may leave above a probability of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is told after the tokens at positions `first` ... n - 2 of a span: rows below."""

    logprobs: np.ndarray
    """Of the token that follows, shape (rows,), float64, nats."""
    is_top: np.ndarray
    """Whether that token, and no other, is the likeliest; shape (rows,), bool."""
    top_ids: np.ndarray
    """The likeliest tokens, the likeliest first, shape (rows, top), int32."""
    top_logprobs: np.ndarray
    """Theirs, shape (rows, top), float32."""
    named_logprobs: np.ndarray | None = None
    """Of the tokens that were named, their shape, float32; None where the runtime cannot."""

    def firsts(self) -> np.ndarray:
        """The token ranked first in each row; of equal ones the lowest, as `argmax` has it."""
        leads = self.top_logprobs >= self.top_logprobs[:, :1]
        found: np.ndarray = np.where(leads, self.top_ids, np.iinfo(np.int32).max).min(axis=1)
        return found.astype(np.int32)


@runtime_checkable
class PromptReader(Protocol):
    """A runtime that gives log-probabilities of a prompt's tokens and of the likeliest ones.

    Its `ModelFacts.scoring` is `top_k`.
    """

    @property
    def reads_named(self) -> bool:
        """Whether this version tells the log-probabilities of tokens that one names."""

    def read_prompts(
        self, spans: Sequence[Span], top: int, named: Sequence[np.ndarray] | None = None
    ) -> Iterator[Reading]:
        """What the model makes of each sequence.

        Args:
            spans: the sequences, and the position of each from which on it is wanted.
            top: how many of the likeliest tokens are wanted; 0: none.
            named: token ids for each row of each sequence, shape (rows, k), int32, -1 where none
                is; only where `reads_named`.

        Yields:
            One a sequence, in their order.

        Raises:
            MeasurementError: what came back is not what was asked for.
        """


def rows_of(span: Span) -> int:
    """How many tokens of a span are scored."""
    return len(span.ids) - 1 - span.first


def checked_readings(
    runtime: PromptReader,
    spans: Sequence[Span],
    top: int,
    named: Sequence[np.ndarray] | None = None,
) -> Iterator[Reading]:
    """As `PromptReader.read_prompts`, each one checked.

    Raises:
        MeasurementError: as `check_reading`; fewer or more came than there are sequences.
    """
    done = 0
    for reading in runtime.read_prompts(spans, top, named):
        if done < len(spans):
            yield check_reading(reading, spans[done], top)
        done += 1
    if done != len(spans):
        raise MeasurementError(
            f"lost samples: got readings of {done} sequences; expected {len(spans)}"
        )


def check_reading(reading: Reading, span: Span, top: int) -> Reading:
    """The reading, if it is one of that span and can be true.

    Raises:
        MeasurementError: lost rows; a probability that is no number or above one; an order of the
            likeliest tokens that is none.
    """
    rows = rows_of(span)
    got = (len(reading.logprobs), len(reading.is_top), reading.top_ids.shape)
    if got != (rows, rows, (rows, top)) or reading.top_logprobs.shape != (rows, top):
        raise MeasurementError(
            f"lost samples: got log-probabilities of shape {got[0]} and {got[2]};"
            f" expected {rows} tokens and {top} of the likeliest at each"
        )
    if not np.isfinite(reading.logprobs).all():
        row = int(np.argmin(np.isfinite(reading.logprobs)))
        raise MeasurementError(f"log-probabilities are not finite: position {span.first + row}")
    if np.isnan(reading.top_logprobs).any():
        raise MeasurementError("log-probabilities are not finite among the likeliest tokens")
    if (reading.logprobs > _ROUNDING_NATS).any():
        raise _impossible(f"a log-probability of {reading.logprobs.max():.3g}", "at most 0")
    if top:
        _check_order(reading)
    return reading


def _check_order(reading: Reading) -> None:
    best = reading.top_logprobs
    with np.errstate(invalid="ignore"):  # two tokens that cannot be: -inf less -inf
        if (np.diff(best, axis=1) > _ROUNDING_NATS).any():
            raise _impossible("likeliest tokens out of order", "the likeliest first")
    mass = np.exp(best.astype(np.float64)).sum(axis=1)
    if (mass > 1.0 + _ROUNDING_NATS * best.shape[1]).any():
        raise _impossible(f"likeliest tokens of mass {mass.max():.4g}", "at most 1")
    if (reading.logprobs > best[:, 0] + _ROUNDING_NATS).any():
        raise _impossible("a token more likely than the likeliest", "none")


def _impossible(got: str, expected: str) -> MeasurementError:
    return MeasurementError(
        f"the runtime's log-probabilities of a prompt cannot be true: got {got};"
        f" expected {expected}"
    )
