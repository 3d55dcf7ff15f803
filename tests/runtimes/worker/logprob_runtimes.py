"""The fake bigram model as a runtime that tells log-probabilities of likely tokens, not logits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax

from qgate.errors import MeasurementError
from qgate.runtimes.fake.adapter import Fake
from qgate.runtimes.worker.prompt_logprobs import Reading
from qgate.runtimes.worker.threads import ThreadTeam
from qgate.runtimes.worker.whole_rows import Watch
from qgate.runtimes.worker.whole_scoring import NotBelievedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import LoadSettings, ModelFacts, Span
    from qgate.runtimes.worker.scoring import ScoreRequest


class TopKFake(Fake):
    """Served as vLLM serves: with `reads_named`, as its newer versions do."""

    def __init__(self, *, reads_named: bool = False) -> None:
        super().__init__()
        self.reads_named = reads_named
        self.asked: list[tuple[int, bool]] = []
        """For each call: how many of the likeliest, and whether tokens were named."""

    def load(self, settings: LoadSettings) -> ModelFacts:
        return dataclasses.replace(super().load(settings), scoring="top_k")

    def read_prompts(
        self, spans: Sequence[Span], top: int, named: Sequence[np.ndarray] | None = None
    ) -> Iterator[Reading]:
        self.asked.append((top, named is not None))
        for number, span in enumerate(spans):
            yield self._read(span, top, None if named is None else named[number])

    def _read(self, span: Span, top: int, named: np.ndarray | None) -> Reading:
        logprobs = log_softmax(self.logits(span.ids[:-1], span.first).astype(np.float64), axis=1)
        targets = span.ids[span.first + 1 :, None]
        order = np.argsort(-logprobs, axis=1, kind="stable")[:, :top]
        best = np.take_along_axis(logprobs, order, axis=1)
        own = np.take_along_axis(logprobs, targets, axis=1)[:, 0]
        return Reading(
            logprobs=own,
            is_top=(logprobs >= own[:, None]).sum(axis=1) == 1,
            top_ids=order.astype(np.int32),
            top_logprobs=best.astype(np.float32),
            named_logprobs=None if named is None else _of(logprobs, named),
        )


class WholeFake(TopKFake):
    """Served as vLLM serves with its worker looked into: prompts are read in parts, side by side.

    What it reduces are its logits plus `shift` at one token, and less than all where it loses some.
    """

    def __init__(
        self, *, shift: float = 0.0, loses: int = 0, fails: str = "", part: int = 7
    ) -> None:
        super().__init__()
        self.remedy, self.why_partition = "Set OTHER=1", ""
        self._shift, self._loses, self._fails, self._part = shift, loses, fails, part
        self._watch: Watch | None = None

    def load(self, settings: LoadSettings) -> ModelFacts:
        return dataclasses.replace(super().load(settings), scoring="whole")

    def watch(self, request: ScoreRequest) -> None:
        if self._fails:
            raise NotBelievedError(self._fails)
        self._watch = Watch(request, ThreadTeam(2))

    def read_prompts(
        self, spans: Sequence[Span], top: int, named: Sequence[np.ndarray] | None = None
    ) -> Iterator[Reading]:
        if self._watch is not None:
            for begin in range(0, max(len(span.ids) for span in spans), self._part):
                for number in range(len(spans) - 1, self._loses - 1, -1):
                    self._reduce(number, spans[number].ids, begin)
        yield from super().read_prompts(spans, top, named)

    def _reduce(self, number: int, ids: np.ndarray, begin: int) -> None:
        assert self._watch is not None
        ((logits, states),) = self.logits_of_windows(ids[None], begin, with_hidden=True)
        assert states is not None
        kept = self._watch.wanted(begin, min(self._part, len(ids) - begin))
        if kept.stop > kept.start:
            rows = logits[0, kept] + self._shift * (np.arange(logits.shape[-1]) == 5)
            wanted = states[0, kept] if self._watch.wants_states else None
            self._watch.take(number, begin + kept.start, rows.astype(np.float32), wanted)

    def watched(self) -> dict[str, np.ndarray]:
        assert self._watch is not None
        watch, self._watch = self._watch, None
        try:
            return watch.found()
        except MeasurementError as error:
            raise NotBelievedError(str(error)) from error


def _of(logprobs: np.ndarray, named: np.ndarray) -> np.ndarray:
    found = np.take_along_axis(logprobs, np.maximum(named, 0), axis=1)
    return np.where(named < 0, -np.inf, found).astype(np.float32)
