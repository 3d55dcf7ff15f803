"""Scores windows through a runtime that reduces whole rows itself, and believes it where it can.

What a runtime tells of each token (`qgate.runtimes.worker.prompt_logprobs`) and what came of the
whole rows inside it (`qgate.runtimes.worker.whole_rows`) are two ways to the same
log-probabilities. Only where both agree on every token that was compared, and no row is missing, is
a divergence over the whole vocabulary believed. Otherwise an artifact is compared over the
likeliest tokens, and the answer says why; a reference says why it was not kept, and is kept as its
likeliest tokens.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from qgate.errors import MeasurementError, QGateError
from qgate.runtimes.base import Span
from qgate.runtimes.worker.logprob_scoring import TopKScorer
from qgate.runtimes.worker.prompt_logprobs import PromptReader, checked_readings

if TYPE_CHECKING:
    from qgate.runtimes.base import Progress
    from qgate.runtimes.worker.scoring import ScoreRequest

MOST_NATS = 1e-3
"""How far apart the two ways may be on one token. Both take the same logits to log-probabilities in
32 bits; rows of another position are nats away."""


class NotBelievedError(QGateError):
    """What came of the whole rows is not what the runtime tells, or nothing came."""


@runtime_checkable
class WholeReader(PromptReader, Protocol):
    """What also reduces whole rows where it computes them; its `ModelFacts.scoring` is `whole`."""

    @property
    def why_partition(self) -> str:
        """Why it does not do so with this model; empty where it does."""

    def watch(self, request: ScoreRequest) -> None:
        """Reduce the rows of the prompts that are read from now on: one for each window, in order.

        Raises:
            NotBelievedError: this version does not let it.
        """

    def watched(self) -> dict[str, np.ndarray]:
        """What came of it, and an end of it.

        Raises:
            NotBelievedError: nothing, or not everything.
            MeasurementError: the reference or its store is at fault.
        """

    @property
    def remedy(self) -> str:
        """What makes this runtime compare the whole vocabulary where it did not."""


def score_whole(
    runtime: WholeReader, n_vocab: int, request: ScoreRequest, progress: Progress
) -> dict[str, Any]:
    """As `Scorer.score`; where it is not believed, as `TopKScorer.score`.

    Then `why_partition` says why. Of a reference that was to be kept whole, nothing else does.
    """
    likeliest = TopKScorer(runtime, n_vocab, request)
    if request.stored is None or request.stored.encoding == "top_k":
        return likeliest.score(progress)
    try:
        return read_whole(runtime, request, progress)
    except NotBelievedError as error:
        why = f"{error}. {runtime.remedy}"
    if request.anchors is None:
        return {"why_partition": why}
    return {**likeliest.score(progress), "why_partition": why}


def read_whole(runtime: WholeReader, request: ScoreRequest, progress: Progress) -> dict[str, Any]:
    """Read the windows and compare whole rows.

    Raises:
        NotBelievedError: the whole rows are not those of the tokens that the runtime tells of.
        MeasurementError: samples are lost, or numbers are none.
    """
    started = time.perf_counter()
    runtime.watch(request)
    try:
        nll = _likelihoods(runtime, request, progress)
    except BaseException:
        with contextlib.suppress(QGateError):  # what kept it from being read says more
            runtime.watched()
        raise
    found = runtime.watched()
    stride = request.stored.stride if request.stored else 1
    _require_same(found.pop("own_nll_nats"), np.concatenate([one[::stride] for one in nll]))
    kl = found.get("kl_nats")
    if kl is not None and not np.isfinite(kl).all():
        number = int(np.argmin(np.isfinite(kl))) // request.kept_per_window
        raise MeasurementError(f"the divergence is not finite: window {number}")
    seconds = time.perf_counter() - started
    return {"nll_nats": np.concatenate(nll), **found, "decode_s": seconds}


def _likelihoods(
    runtime: WholeReader, request: ScoreRequest, progress: Progress
) -> list[np.ndarray]:
    """The tokens' negative log-likelihoods in each window, as the runtime tells them."""
    spans = [Span(ids=ids, first=request.first) for ids in request.windows]
    nll: list[np.ndarray] = []
    for reading in checked_readings(runtime, spans, 0):
        progress("scoring", len(nll), len(spans))
        nll.append(-reading.logprobs)
    return nll


def _require_same(own: np.ndarray, told: np.ndarray) -> None:
    if own.shape != told.shape:
        raise NotBelievedError(f"whole rows: got {len(own)}; expected {len(told)}")
    gaps = np.abs(own - told)
    if not gaps.max() <= MOST_NATS:  # NaN is not
        raise NotBelievedError(
            "whole rows: the tokens' log-probabilities are not those that the runtime tells: got"
            f" a difference of {gaps.max():.3g} nats; expected at most {MOST_NATS}"
        )
