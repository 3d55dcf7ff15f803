"""The fake bigram model as a runtime that tells log-probabilities of likely tokens, not logits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax

from qgate.runtimes.fake import Fake
from qgate.runtimes.top_k import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import LoadSettings, ModelFacts, Span


class TopKFake(Fake):
    """Served as vLLM serves: with `reads_named`, as its newer versions do."""

    def __init__(self, *, reads_named: bool = False, most: int = 10**6) -> None:
        super().__init__()
        self.reads_named, self._most = reads_named, most
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
        if top > self._most:  # it does not tell more than so many; the rest of the list is a tail
            best[:, self._most :] = -np.inf
            order[:, self._most :] = np.arange(10**6, 10**6 + top - self._most)
        own = np.take_along_axis(logprobs, targets, axis=1)[:, 0]
        return Reading(
            logprobs=own,
            is_top=(logprobs >= own[:, None]).sum(axis=1) == 1,
            top_ids=order.astype(np.int32),
            top_logprobs=best.astype(np.float32),
            named_logprobs=None if named is None else _of(logprobs, named),
        )


def _of(logprobs: np.ndarray, named: np.ndarray) -> np.ndarray:
    found = np.take_along_axis(logprobs, np.maximum(named, 0), axis=1)
    return np.where(named < 0, -np.inf, found).astype(np.float32)
