"""Scores windows and sequences through a runtime that tells log-probabilities but no logits.

The counterpart of `qgate.runtimes.worker.scoring` and `qgate.runtimes.worker.spans`: the same
requests, the same answers, and `covered_mass` beside the divergences, which are lower bounds
(`qgate.runtimes.worker.partition_kl`). A reference that is scored here is kept as its likeliest
tokens and then scored a second time, its windows in reverse order: what does not come out the same
the second time cannot be held against anything.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.base import Span
from qgate.runtimes.messages import SpanScores
from qgate.runtimes.worker.logprob_store import TopKeeper, TopRows, find_top_rows, read_top_rows
from qgate.runtimes.worker.partition_kl import look_up, partition_divergence
from qgate.runtimes.worker.prompt_logprobs import SEARCHED, TOP, checked_readings
from qgate.runtimes.worker.threads import ThreadTeam

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import Progress
    from qgate.runtimes.worker.prompt_logprobs import PromptReader, Reading
    from qgate.runtimes.worker.reference_logits import Stored
    from qgate.runtimes.worker.scoring import Rows, ScoreRequest


class TopKScorer:
    """Walks the windows of one request through a runtime."""

    def __init__(self, runtime: PromptReader, n_vocab: int, request: ScoreRequest) -> None:
        self._runtime, self._n_vocab, self._request = runtime, n_vocab, request
        self._spans = [Span(ids=ids, first=request.first) for ids in request.windows]
        self._read_s = 0.0

    def score(self, progress: Progress) -> dict[str, Any]:
        """As `Scorer.score`, with `covered_mass` where there is a divergence."""
        request = self._request
        if request.stored is None:
            samples = self._likelihoods(progress)
        elif request.anchors is None or request.tops is None:
            samples = self._keep_reference(progress)
        else:
            samples = self._compare(self._reference(progress), request.tops, progress)
        return {**samples, "decode_s": self._read_s}

    def _likelihoods(self, progress: Progress) -> dict[str, np.ndarray]:
        readings = self._read(range(len(self._spans)), 0, None, progress)
        return {"nll_nats": np.concatenate([-reading.logprobs for _, reading in readings])}

    def _keep_reference(self, progress: Progress) -> dict[str, np.ndarray]:
        request, k = self._request, min(TOP, self._n_vocab)
        assert request.stored is not None
        count = len(self._spans) * request.kept_per_window
        keeper = TopKeeper(request.stored, count, k)
        nll, tops = [], np.empty(count, dtype=np.int32)
        top_logprobs = np.empty(count, dtype=np.float32)
        for number, reading in self._read(range(len(self._spans)), k, None, progress):
            rows, kept = self._kept_rows(number), slice(None, None, request.stored.stride)
            logprobs = reading.top_logprobs[kept]
            if (logprobs == logprobs[:, :1]).all():
                raise MeasurementError("the reference says nothing: all its tokens are as likely")
            keeper.keep(rows.start, TopRows(ids=reading.top_ids[kept], logprobs=logprobs))
            nll.append(-reading.logprobs)
            tops[rows] = reading.firsts()[kept]
            top_logprobs[rows] = logprobs.max(axis=1)
        again = self._compare(keeper.kept(), tops, progress, is_reversed=True)
        return {
            "nll_nats": np.concatenate(nll),
            "kl_nats": again["kl_nats"],
            "covered_mass": again["covered_mass"],
            "anchors": np.zeros(count),  # what is kept are log-probabilities
            "tops": tops,
            "top_logprobs": top_logprobs,
        }

    def _reference(self, progress: Progress) -> TopRows:
        request = self._request
        assert request.stored is not None
        assert request.anchors is not None
        count = len(self._spans) * request.kept_per_window
        if request.stored.encoding == "top_k":
            return read_top_rows(request.stored, count)

        def report(done: int) -> None:
            progress("reading the reference", done, count)

        with ThreadTeam() as team:
            return find_top_rows(request.stored, request.anchors[:count], TOP, team, report)

    def _compare(
        self, reference: TopRows, tops: np.ndarray, progress: Progress, *, is_reversed: bool = False
    ) -> dict[str, np.ndarray]:
        total, stored = len(self._spans), self._request.stored
        assert stored is not None
        found: list[dict[str, np.ndarray]] = [{} for _ in self._spans]
        order = range(total - 1, -1, -1) if is_reversed else range(total)
        searched = 1 if self._runtime.reads_named else min(SEARCHED, self._n_vocab)
        named = self._named(reference, order) if self._runtime.reads_named else None
        for number, reading in self._read(order, searched, named, progress):
            rows = self._kept_rows(number)
            theirs = reference.part(rows.start, rows.stop)
            kl, covered = partition_divergence(
                theirs.logprobs, _of_tokens(theirs.ids, reading, stored.stride)
            )
            if not np.isfinite(kl).all():
                raise MeasurementError(f"the divergence is not finite: window {number}")
            found[number] = {
                "nll_nats": -reading.logprobs,
                "kl_nats": kl,
                "same_top": reading.firsts()[:: stored.stride] == tops[rows],
                "covered_mass": covered,
            }
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def _named(self, reference: TopRows, order: Sequence[int]) -> list[np.ndarray]:
        """The reference's tokens for each row of each window; rows that are not kept name none."""
        request, named = self._request, []
        assert request.stored is not None
        for number in order:
            kept = self._kept_rows(number)
            ids = np.full((request.scored_per_window, reference.ids.shape[1]), -1, dtype=np.int32)
            ids[:: request.stored.stride] = reference.ids[kept]
            named.append(ids)
        return named

    def _kept_rows(self, number: int) -> slice:
        count = self._request.kept_per_window
        return slice(number * count, (number + 1) * count)

    def _read(
        self,
        order: Sequence[int],
        top: int,
        named: Sequence[np.ndarray] | None,
        progress: Progress,
    ) -> Iterator[tuple[int, Reading]]:
        spans = [self._spans[number] for number in order]
        readings = checked_readings(self._runtime, spans, top, named)
        started = time.perf_counter()
        for done, (number, reading) in enumerate(zip(order, readings, strict=True)):
            self._read_s += time.perf_counter() - started
            progress("scoring", done, len(spans))
            yield number, reading
            started = time.perf_counter()


class TopRowsOfReference:
    """A reference that is kept as its likeliest tokens, held against logits of an artifact."""

    def __init__(self, stored: Stored, positions: int, tops: np.ndarray) -> None:
        self._reference, self._tops = read_top_rows(stored, positions), tops

    def compare(self, begin: int, rows: Rows, _: ThreadTeam) -> dict[str, np.ndarray]:
        """What `Scorer` asks of whatever it compares with."""
        end = begin + rows.normalizers.size
        theirs = self._reference.part(begin, end)
        ids = theirs.ids.reshape(*rows.normalizers.shape, -1)
        chosen = np.take_along_axis(rows.logits, ids, axis=-1).astype(np.float64)
        logprobs = (chosen - rows.normalizers[..., None]).reshape(theirs.ids.shape)
        kl, covered = partition_divergence(theirs.logprobs, logprobs)
        same_top = rows.tops() == self._tops[begin:end]
        return {"kl_nats": kl, "same_top": same_top, "covered_mass": covered}


def score_spans(runtime: PromptReader, spans: Sequence[Span], progress: Progress) -> SpanScores:
    """As `qgate.runtimes.worker.spans.score_spans`."""
    nll: list[np.ndarray] = []
    tops: list[np.ndarray] = []
    total = len(spans)
    progress("scoring", 0, total, (0, total))
    for reading in checked_readings(runtime, spans, 0):
        nll.append(-np.asarray(reading.logprobs, dtype=np.float64))
        tops.append(np.asarray(reading.is_top, dtype=bool))
        progress("scoring", len(nll), total, (len(nll), total))
    return SpanScores(nll_nats=tuple(nll), is_top=tuple(tops))


def _of_tokens(ids: np.ndarray, reading: Reading, stride: int) -> np.ndarray:
    """The artifact's log-probabilities of the reference's tokens at the kept rows."""
    if reading.named_logprobs is not None:
        named: np.ndarray = reading.named_logprobs[::stride]
        if named.shape != ids.shape or np.isnan(named).any():
            raise MeasurementError(
                f"lost samples: got log-probabilities of {named.shape} tokens that were named;"
                f" expected numbers for {ids.shape}"
            )
        return named
    return look_up(ids, reading.top_ids[::stride], reading.top_logprobs[::stride])
