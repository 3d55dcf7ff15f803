"""Latency of an artifact beside its reference: how long to the first token, how fast after it.

    ttft   t(first token) - t(request)                          ms        qgate.ttft.1
    itl    median gap between tokens of a request, after the    ms        qgate.itl.1
           first
    tps    (n - 1) / (t(last token) - t(first token))           tokens/s  qgate.tps.1

One stream, token ids in and out, the clock beside the runtime
(`qgate.runtimes.worker.token_timing`): neither tokenizer nor transport nor a queue is in the
numbers, so they are the model's and the runtime's alone. `latency.ttft`, `latency.itl` and
`latency.tps` are exp(median log(artifact / reference)) over pairs of requests taken in turns
(`qgate.measure.latency.interleaved`).

Other tools: tps is 1 / vLLM's TPOT (there per request, then averaged), AIPerf's and GuideLLM's
"ITL" inverted, and llama-bench's `tg` at the same depth but for reading logits and choosing the
token, which llama-bench leaves out. vLLM's ITL is a pool of gaps over all requests; here each
request counts once. GuideLLM's TPOT has the time to the first token in it. An id of a formula
changes with the formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate import stats
from qgate.errors import MeasurementError
from qgate.measure.latency.interleaved import Timings, fit, measure_interleaved
from qgate.runtimes.base import require_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qgate.measure.latency.interleaved import Lengths
    from qgate.records import Estimate
    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.stats import Looks
    from qgate.thresholds import LatencySettings

_SLO = "_slo"
_FEWEST_PAIRS = 12
CHECKS = ("latency.ttft", "latency.itl", "latency.tps", "latency.ttft_slo", "latency.itl_slo")
"""The rows that rest on the same requests."""
_SAMPLE_DECIMALS = 4
"""Tenths of a microsecond: enough to redo a verdict of models that need 100 us a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantity:
    """What is read from the times of a request."""

    formula: str
    meaning: str
    unit: str
    read: Callable[[Timings], np.ndarray]
    to_seconds: Callable[[np.ndarray], np.ndarray]


def _ms_to_s(values_ms: np.ndarray) -> np.ndarray:
    return values_ms / 1e3


QUANTITIES: Mapping[str, _Quantity] = MappingProxyType(
    {
        "latency.ttft": _Quantity(
            formula="qgate.ttft.1",
            meaning="t(first token) - t(request)",
            unit="ms",
            read=lambda timings: timings.ttft_ms,
            to_seconds=_ms_to_s,
        ),
        "latency.itl": _Quantity(
            formula="qgate.itl.1",
            meaning="median gap between tokens of a request after the first",
            unit="ms",
            read=lambda timings: timings.itl_ms,
            to_seconds=_ms_to_s,
        ),
        "latency.tps": _Quantity(
            formula="qgate.tps.1",
            meaning="(n - 1) / (t(last) - t(first))",
            unit="tokens/s",
            read=lambda timings: timings.output_tps,
            to_seconds=lambda values_tps: 1.0 / values_tps,
        ),
    }
)
"""Row -> what it compares; `latency.ttft_slo` and `latency.itl_slo` hold the same numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySamples:
    """Requests to an artifact and to its reference, paired by position."""

    artifact: Timings
    reference: Timings
    lengths: Lengths
    asked: LatencySettings
    looks: Looks
    """How many pairs were taken."""

    def __post_init__(self) -> None:
        wanted = (self.looks.n, self.lengths.output_tokens)
        for side, timings in (("artifact", self.artifact), ("reference", self.reference)):
            if timings.at_s.shape != wanted:
                raise MeasurementError(
                    f"latency: {side}: lost samples: got times of shape {timings.at_s.shape};"
                    f" expected {wanted}"
                )

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        """A ratio artifact / reference; of a `_slo` row a percentile of the artifact's own ms.

        Args:
            check: `latency.ttft`, `.itl`, `.tps`, `.ttft_slo` or `.itl_slo`.
            level: coverage of the interval.
            parameters: `percentile` of a `_slo` row, e.g. 95.

        Raises:
            MeasurementError: fewer requests than the percentile takes.
        """
        found = self._plain(check, self.looks.nominal(level), parameters)
        return self.looks.held(found, level)

    def _plain(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        quantity = _quantity(check)
        own = quantity.read(self.artifact)
        if check.endswith(_SLO):
            share = parameters["percentile"] / 100
            return stats.percentile_interval(own, share, level=level, unit=quantity.unit)
        return stats.median_ratio(np.log(own / quantity.read(self.reference)), level=level)

    def details(self, check: str) -> dict[str, Any]:
        """Formula, medians, how it was measured, and the samples in the formula's unit."""
        quantity = _quantity(check)
        own, theirs = quantity.read(self.artifact), quantity.read(self.reference)
        return {
            **self._summary(quantity),
            "samples": {"artifact": _rounded(own), "reference": _rounded(theirs)},
        }

    def headline(self) -> dict[str, float]:
        """The artifact's medians, for a table of artifacts."""
        return _headline(self.artifact)

    def reference_headline(self) -> dict[str, float]:
        """The reference's medians."""
        return _headline(self.reference)

    def benchmark(self, check: str) -> tuple[list[float], dict[str, Any]]:
        """For a table of benchmarks: seconds of each request (of `tps` a token), and the facts."""
        quantity = _quantity(check)
        found = self._plain(check, 0.95, {})
        ratio = {"value": found.value, "low": found.low, "high": found.high, "level": found.level}
        seconds: list[float] = quantity.to_seconds(quantity.read(self.artifact)).tolist()
        return seconds, {**self._summary(quantity), **self.headline(), "ratio": ratio}

    def _summary(self, quantity: _Quantity) -> dict[str, Any]:
        asked, lengths = self.asked, self.lengths
        wanted = {
            "asked_prompt_tokens": asked.prompt_tokens,
            "asked_output_tokens": asked.output_tokens,
        }
        is_whole = tuple(wanted.values()) == (lengths.prompt_tokens, lengths.output_tokens)
        return {
            "formula": quantity.formula,
            "meaning": quantity.meaning,
            "unit": quantity.unit,
            "artifact_median": float(np.median(quantity.read(self.artifact))),
            "reference_median": float(np.median(quantity.read(self.reference))),
            "order": "ABBA, the reference first",
            "pairs": self.looks.n,
            "warmup": asked.warmup,
            "prompt_tokens": lengths.prompt_tokens,
            "output_tokens": lengths.output_tokens,
            **({} if is_whole else wanted),
            **self.looks.details("of_pairs"),
        }


def measure_latency(
    artifact: Host,
    reference: Host,
    settings: LatencySettings,
    facts: ModelFacts,
    is_decided: Callable[[LatencySamples], bool] | None = None,
) -> LatencySamples:
    """Time requests to both in turns; nothing else may run on the machine meanwhile.

    Args:
        artifact: the child that holds it, loaded.
        reference: the child that holds the reference, loaded the same way.
        settings: how many requests, and how long.
        facts: of the artifact; requests that exceed its context are cut, prompt first.
        is_decided: whether the pairs so far decide every row; None: all are taken.

    Raises:
        QGateError: a child failed.
        MeasurementError: a token was lost; one bad request voids them all.
    """
    ends = (settings.pairs,) if is_decided is None else pair_ends(settings.pairs)
    lengths = fit(settings, require_context(facts.context_length))
    turns = measure_interleaved(artifact, reference, settings, facts, ends)
    for look, (own, theirs) in enumerate(turns, 1):
        looks = stats.Looks(ends=ends, look=look)
        samples = LatencySamples(
            artifact=own, reference=theirs, lengths=lengths, asked=settings, looks=looks
        )
        if looks.is_last or (is_decided is not None and is_decided(samples)):
            return samples
    raise AssertionError("turns end with the last pair")


def pair_ends(pairs: int) -> tuple[int, ...]:
    """After how many pairs the rows are looked at: half, two thirds, all.

    Order statistics of fewer than 12 pairs bound no median at the level of a first look.
    """
    ends = (pairs // 2, pairs * 2 // 3, pairs)
    return ends if ends[0] >= _FEWEST_PAIRS else (pairs,)


def _quantity(check: str) -> _Quantity:
    return QUANTITIES[check.removesuffix(_SLO)]


def _headline(timings: Timings) -> dict[str, float]:
    return {
        "ttft_ms": float(np.median(timings.ttft_ms)),
        "itl_ms": float(np.median(timings.itl_ms)),
        "output_tps": float(np.median(timings.output_tps)),
    }


def _rounded(values: np.ndarray) -> list[float]:
    found: list[float] = values.round(_SAMPLE_DECIMALS).tolist()
    return found
