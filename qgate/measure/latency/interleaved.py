"""Sends the same requests to two children in turns, and says when each token was known.

    order    reference artifact | artifact reference | reference artifact | ...    (ABBA)
    a pair   one prompt to both, never sent before: no cached prefix helps anybody

A machine drifts by more than the differences that are looked for; what both sides of a pair share
cancels in their ratio. asv (`--interleave-rounds`) and benchstat's manual measure in turns too; no
benchmark of language models does so with two models. Answers are greedy and of fixed length, with
end-of-text ignored, so that no side is faster because it says less. Prompts are random token ids
from `FIRST_ORDINARY_TOKEN` on, where vocabularies begin with their special tokens; those that have
them elsewhere get some of them, on both sides alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.base import require_context
from qgate.runtimes.messages import TimedRequest
from qgate.runtimes.verbs import TIME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.thresholds import LatencySettings

FIRST_ORDINARY_TOKEN = 8
_FEWEST_TOKENS = 8
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Of every request alike."""

    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """What the child's clock said of requests to one model."""

    at_s: np.ndarray
    """When each token was known, seconds after its request, shape (requests, tokens), float64."""

    def __post_init__(self) -> None:
        at_s = self.at_s
        if at_s.ndim != 2 or 0 in at_s.shape:
            raise MeasurementError(f"lost requests: got shape {at_s.shape}; expected times")
        gaps_s = np.diff(at_s, axis=1, prepend=0.0)
        if not np.isfinite(at_s).all() or float(gaps_s.min()) <= 0.0:
            raise MeasurementError(
                f"token times: got a gap of {float(gaps_s.min()):g} s; expected each token after"
                " the one before. Something is wrong with the clock"
            )

    @property
    def ttft_ms(self) -> np.ndarray:
        """t(first token) - t(request), shape (requests,)."""
        found: np.ndarray = self.at_s[:, 0] * 1e3
        return found

    @property
    def itl_ms(self) -> np.ndarray:
        """Median gap between tokens of a request after the first, shape (requests,)."""
        found: np.ndarray = np.median(np.diff(self.at_s, axis=1), axis=1) * 1e3
        return found

    @property
    def output_tps(self) -> np.ndarray:
        """(n - 1) / (t(last) - t(first)), tokens per second, shape (requests,)."""
        found: np.ndarray = (self.at_s.shape[1] - 1) / (self.at_s[:, -1] - self.at_s[:, 0])
        return found


def fit(settings: LatencySettings, context_tokens: int) -> Lengths:
    """The lengths that were asked for, or what the model's context leaves of them, prompt first.

    Raises:
        MeasurementError: it leaves too little to time.
    """
    if context_tokens < 2 * _FEWEST_TOKENS:
        raise MeasurementError(
            f"latency: context: got {context_tokens} tokens; expected at least {2 * _FEWEST_TOKENS}"
        )
    prompt = min(
        settings.prompt_tokens, max(_FEWEST_TOKENS, context_tokens - settings.output_tokens)
    )
    return Lengths(
        prompt_tokens=prompt, output_tokens=min(settings.output_tokens, context_tokens - prompt)
    )


def measure_interleaved(
    artifact: Host,
    reference: Host,
    settings: LatencySettings,
    facts: ModelFacts,
    ends: Sequence[int],
) -> Iterator[tuple[Timings, Timings]]:
    """Time `warmup` requests to each and then pairs in ABBA order, until nobody wants more.

    Args:
        artifact: the child that holds it, loaded.
        reference: the child that holds the reference, loaded.
        settings: how many requests, and how long.
        facts: of the artifact.
        ends: after how many pairs what there is is handed out; the last are all of them.

    Yields:
        The artifact's requests and the reference's, paired by position, without those that warm up.

    Raises:
        QGateError: a child failed.
        MeasurementError: a token was lost; one bad request voids them all.
    """
    lengths = fit(settings, require_context(facts.context_length))
    prompts = _draw_prompts(settings.warmup + ends[-1], lengths.prompt_tokens, facts.n_vocab)
    hosts = {"reference": reference, "artifact": artifact}
    times: dict[str, list[np.ndarray]] = {side: [] for side in hosts}
    done = 0
    for end in ends:
        for number in range(done, settings.warmup + end):
            for side in order_of(number):
                times[side].append(_time(side, hosts[side], prompts[number], lengths.output_tokens))
        done = settings.warmup + end
        # one bad request voids them all, one that warms up too
        sides = (times["artifact"], times["reference"])
        own, theirs = (Timings(at_s=np.stack(taken)).at_s for taken in sides)
        yield Timings(at_s=own[settings.warmup :]), Timings(at_s=theirs[settings.warmup :])


def order_of(number: int) -> tuple[str, str]:
    """Who goes first in a pair, and who second."""
    return ("artifact", "reference") if number % 2 else ("reference", "artifact")


def _draw_prompts(count: int, tokens: int, n_vocab: int) -> np.ndarray:
    """Shape (count, tokens), int32."""
    if n_vocab <= FIRST_ORDINARY_TOKEN + 1:
        raise MeasurementError(
            f"latency: vocabulary: got {n_vocab} tokens;"
            f" expected more than the {FIRST_ORDINARY_TOKEN + 1} that prompts are drawn from"
        )
    rng = np.random.default_rng(_SEED)
    return rng.integers(FIRST_ORDINARY_TOKEN, n_vocab, (count, tokens)).astype(np.int32)


def _time(side: str, host: Host, ids: np.ndarray, count: int) -> np.ndarray:
    found = TIME.ask(host, TimedRequest(ids=ids, count=count))
    if found.shape != (count,):
        raise MeasurementError(
            f"{side}: lost tokens: got times of shape {found.shape}; expected {count} of a request"
        )
    return found
