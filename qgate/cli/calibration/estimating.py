"""From two runs of one model to its noise: rates and ratios with what bounds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.planning.noise_floor import Flips, Noise, Runtime
from qgate.stats.binomial import upper_share

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgate.cli.calibration.measuring import Runs
    from qgate.measure.tasks.paired_binary import PairedAnswers
    from qgate.records import Estimate

LEVEL = 0.95
ALL = "all"
LATENCIES = ("latency.ttft", "latency.itl", "latency.tps")


def estimate(runs: Runs, level: float = LEVEL, **known: Any) -> Noise:  # noqa: ANN401 - fields
    """The noise floor.

    Args:
        runs: the samples.
        level: one-sided of the flips' upper ends, two-sided of everything else.
        known: its fields that no sample tells.

    Raises:
        MeasurementError: the samples do not carry one.
    """
    estimates, left_out = {}, dict(runs.left_out)
    estimates["perplexity.ratio"] = runs.divergence.estimate("perplexity.ratio", level, {})
    try:
        estimates["divergence.kl_mean"] = runs.divergence.estimate("divergence.kl_mean", level, {})
    except MeasurementError as error:  # a server that tells too few tokens
        left_out["divergence.kl_mean"] = str(error)
    for check in LATENCIES:
        estimates[check] = runs.latency.estimate(check, level, {})
    pairs, served = runs.answers, runs.runtime
    return Noise(
        runtime=Runtime(name=served.name, version=served.version, device=served.device),
        flips=tuple(count_flips(check, [pair], level) for check, pair in pairs.items()),
        all_flips=count_flips(ALL, pairs.values(), level) if pairs else None,
        estimates=estimates,
        left_out=left_out,
        **known,
    )


def count_flips(check: str, pairs: Iterable[PairedAnswers], level: float) -> Flips:
    """Flips of one or several tasks; items count as independent."""
    items = flips = texts = 0
    for pair in pairs:
        items += len(pair.artifact)
        flips += int((pair.artifact != pair.reference).sum())
        both = zip(pair.artifact_texts, pair.reference_texts, strict=True)
        texts += sum(one != other for one, other in both)
    return Flips(
        check=check,
        items=items,
        flips=flips,
        upper=upper_share(items, flips, level),
        level=level,
        texts_differ=texts,
    )


def visible_slowdown(ratio: Estimate) -> float:
    """The end of an A/A ratio's interval that is furthest from 1, as a factor of at least 1.

    A true slowdown below it looks like no change at all; about that large one leaves the interval
    clear of 1 every other time.
    """
    return max(ratio.high, 1.0 / ratio.low)
