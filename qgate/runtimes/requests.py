"""What a child is asked so that a row can be filled, and what came back: the same for both sides.

Work is token ids only. Reference and artifact get the very same ids in the very same calls, and
what they answer is paired by position; the digest of the work names both.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError, QGateError, reworded
from qgate.runtimes.base import require_context
from qgate.runtimes.messages import Answers, Batch, Texts
from qgate.runtimes.verbs import ANSWER, ENCODE, SCORE_SPANS
from qgate.untrusted.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qgate.errors import RequestProgress
    from qgate.runtimes.base import Prompt, Span
    from qgate.runtimes.host import Host

_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRange:
    """A part of a span that is looked at, and what it is a part of."""

    member: str
    """E.g. the language; parts of one member are judged together."""
    span: int
    start: int
    """Position of its first token, at least `first` + 1 of the span."""
    stop: int
    cluster: int | None = None
    """Tokens of one member that resemble each other; None: those of one span do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Sequences to score and batches of prompts to answer."""

    spans: tuple[Span, ...] = ()
    batches: tuple[Batch, ...] = ()
    ranges: tuple[ScoredRange, ...] = ()
    """How the answers will be read; the child does not see them."""

    def digest(self) -> str:
        """`sha256:...` of everything that is asked."""
        found = hashlib.sha256()
        for span in self.spans:
            found.update(f"span {span.first} {len(span.ids)}:".encode())
            found.update(span.ids.astype("<i4").tobytes())
        for batch in self.batches:
            found.update(f"batch {batch.batch_size} {len(batch.prompts)}:".encode())
            for prompt in batch.prompts:
                found.update(f"prompt {prompt.max_tokens} {len(prompt.ids)}:".encode())
                found.update(prompt.ids.astype("<i4").tobytes())
                if prompt.stops:
                    found.update(f"stops {json.dumps(prompt.stops)}:".encode())
        return f"sha256:{found.hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one side answered to a piece of work."""

    nll_nats: tuple[np.ndarray, ...]
    """Of the scored tokens of each span, float64."""
    is_top: tuple[np.ndarray, ...]
    """Whether greedy decoding would have said that token, bool."""
    answers: tuple[Answers, ...]
    """One a batch."""
    end_tokens: tuple[int, ...]
    """What ends an answer by this side's own word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both sides' answers to the same work."""

    work: Work
    reference: Outcome
    artifact: Outcome


class TokenizerClient:
    """Texts to token ids, by the tokenizer of a child that holds a model."""

    def __init__(self, host: Host, context_tokens: int | None, first_token: int) -> None:
        self._host, self._context_tokens = host, context_tokens
        self.first_token = first_token

    @property
    def context_tokens(self) -> int:
        """The longest sequence that the model was trained for.

        Raises:
            MeasurementError: nobody knows.
        """
        return require_context(self._context_tokens)

    def begin(self, texts: Sequence[str]) -> tuple[np.ndarray, ...]:
        """Ids of texts that begin a sequence; special tokens in them are parsed.

        A text that spells out the token that sequences begin with gets no second one.
        """
        found = self._encode(texts, begins=True)
        return tuple(
            ids[1:] if len(ids) > 1 and (ids[:2] == self.first_token).all() else ids
            for ids in found
        )

    def follow(self, texts: Sequence[str]) -> tuple[np.ndarray, ...]:
        """Ids of texts that follow another."""
        return self._encode(texts, begins=False)

    def _encode(self, texts: Sequence[str], *, begins: bool) -> tuple[np.ndarray, ...]:
        return ENCODE.ask(self._host, Texts(texts=tuple(texts), begins=begins))


def perform(work: Work, host: Host, end_tokens: tuple[int, ...]) -> Outcome:
    """Have a child do the work.

    Args:
        work: what to do.
        host: the child, its model loaded.
        end_tokens: what the model's file says about ending an answer.

    Raises:
        QGateError: the runtime failed; says what it was being asked, where the runtime told.
        MeasurementError: something was not answered.
    """
    nll, tops = _score(work.spans, host) if work.spans else ((), ())
    answers = tuple(_answer(batch, host) for batch in work.batches)
    return Outcome(nll_nats=nll, is_top=tops, answers=answers, end_tokens=end_tokens)


def _score(
    spans: Sequence[Span], host: Host
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    with naming_inflight(spans, "sequence"):
        scored = SCORE_SPANS.ask(host, spans)
    return scored.nll_nats, scored.is_top


def _answer(batch: Batch, host: Host) -> Answers:
    with naming_inflight(batch.prompts, "prompt"):
        return ANSWER.ask(host, batch)


@contextmanager
def naming_inflight(pieces: Sequence[Prompt | Span], kind: str) -> Iterator[None]:
    """Name the pieces that were with the model, in the line of an error and in its details.

    The row is void whatever the others answered. Nothing is asked again to find the one that does
    it; what fails may depend on what was asked beside it.

    Args:
        pieces: what the child is asked in this block, in order.
        kind: what one is called that has no name of its own, by its place.
    """
    try:
        yield
    except QGateError as error:
        asked = _asked(pieces, kind, error.reached)
        if error.reached is None or not asked:
            raise
        done, total = error.reached.done, error.reached.total
        shown = listed([name[:_LONGEST_NAME] for name in asked])
        failure = reworded(
            error, f"{error} (asked at the time: {shown}, after {done} of {total} {kind}s)"
        )
        failure.details = {"asked_when_failed": asked, "done": done, "total": total}
        raise failure from error


def _asked(
    pieces: Sequence[Prompt | Span], kind: str, reached: RequestProgress | None
) -> list[str]:
    """Names in order, each once; empty where the runtime told nothing that can be so."""
    if reached is None or not 0 <= reached.done <= reached.total == len(pieces):
        return []
    if not 0 <= reached.first < reached.stop <= len(pieces):
        return []
    places = range(reached.first, reached.stop)
    return list(dict.fromkeys(pieces[at].name or f"{kind} {at + 1}" for at in places))


def save(outcome: Outcome, directory: Path) -> dict[str, Any]:
    """Write an outcome's arrays into a directory; what is not an array is returned."""
    arrays = {"nll": _to_flat(outcome.nll_nats, "<f8"), "top": _to_flat(outcome.is_top, "|b1")}
    for number, answers in enumerate(outcome.answers):
        arrays[f"answers{number}"] = {**_to_flat(answers.ids, "<i4"), "ends": answers.ends}
        arrays[f"margins{number}"] = _to_flat(answers.margins_nats, "<f4")
    for name, parts in arrays.items():
        for part, array in parts.items():
            np.save(directory / f"{name}.{part}.npy", array)
    return {
        "texts": [list(answers.texts) for answers in outcome.answers],
        "end_tokens": list(outcome.end_tokens),
    }


def read(directory: Path, facts: dict[str, Any]) -> Outcome:
    """The inverse of `save`.

    Raises:
        MeasurementError: the sizes of what was kept do not add up to it.
    """

    def array(name: str) -> np.ndarray:
        found: np.ndarray = np.load(directory / f"{name}.npy", allow_pickle=False)
        return found

    def ragged(name: str) -> tuple[np.ndarray, ...]:
        return _from_flat(array(f"{name}.flat"), array(f"{name}.sizes"))

    answers = tuple(
        Answers(
            ids=ragged(f"answers{number}"),
            ends=array(f"answers{number}.ends"),
            texts=tuple(texts),
            margins_nats=ragged(f"margins{number}"),
        )
        for number, texts in enumerate(facts["texts"])
    )
    return Outcome(
        nll_nats=ragged("nll"),
        is_top=ragged("top"),
        answers=answers,
        end_tokens=tuple(facts["end_tokens"]),
    )


def _to_flat(arrays: Sequence[np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """Arrays of different lengths as `flat`, one after the other, and their `sizes`, int32."""
    flat = np.concatenate(arrays) if arrays else np.zeros(0)
    sizes = np.array([len(array) for array in arrays], dtype=np.int32)
    return {"flat": flat.astype(dtype), "sizes": sizes}


def _from_flat(flat: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, ...]:
    if int(sizes.sum()) != len(flat) or (len(sizes) and int(sizes.min()) < 0):
        raise MeasurementError(f"ragged array: got {len(flat)} values; expected {int(sizes.sum())}")
    return tuple(np.split(flat, np.cumsum(sizes)[:-1])) if len(sizes) else ()
