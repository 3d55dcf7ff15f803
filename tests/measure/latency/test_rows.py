"""Rows of latency are the plain formulas of the recorded times, in every place that tells them."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from qgate import stats
from qgate.checks import CHECKS
from qgate.errors import MeasurementError
from qgate.measure.latency.interleaved import Timings, fit
from qgate.measure.latency.rows import QUANTITIES, LatencySamples
from qgate.thresholds import LatencySettings


def samples_of(artifact: np.ndarray, reference: np.ndarray) -> LatencySamples:
    pairs, tokens = artifact.shape
    settings = LatencySettings(prompt_tokens=16, output_tokens=tokens, pairs=pairs, warmup=1)
    return LatencySamples(
        artifact=Timings(at_s=artifact),
        reference=Timings(at_s=reference),
        lengths=fit(settings, 256),
        asked=settings,
        looks=stats.Looks(ends=(pairs,), look=1),
    )


def draw(pairs: int, tokens: int = 8, slower: float = 1.0, seed: int = 0) -> np.ndarray:
    gaps = np.random.default_rng(seed).uniform(0.9, 1.1, (pairs, tokens)) * 0.01
    found: np.ndarray = np.cumsum(gaps, axis=1) * slower
    return found


def test_the_formulas_are_those_of_the_docstring() -> None:
    at_s = np.array([[0.5, 0.6, 0.7, 0.9, 1.0], [0.25, 0.3, 0.5, 0.6, 0.75]])
    timings = Timings(at_s=at_s)

    assert timings.ttft_ms == pytest.approx([500.0, 250.0])
    assert timings.itl_ms == pytest.approx([100.0, 125.0])  # of 100 100 200 100 and 50 200 100 150
    assert timings.output_tps == pytest.approx([4 / 0.5, 4 / 0.5])


@pytest.mark.parametrize(
    ("check", "ratio"), [("latency.ttft", 1.25), ("latency.itl", 1.25), ("latency.tps", 0.8)]
)
def test_an_artifact_that_takes_a_quarter_longer_is_seen_in_every_row(
    check: str, ratio: float
) -> None:
    times = draw(12)

    found = samples_of(times * 1.25, times).estimate(check, 0.95, {})

    assert (found.value, found.low, found.high) == pytest.approx((ratio,) * 3)
    assert (found.n, found.level, found.unit) == (12, 0.95, CHECKS[check].unit)


def test_a_ratio_is_the_median_of_paired_log_ratios() -> None:
    own, theirs = draw(20, slower=1.1, seed=1), draw(20, seed=2)
    samples = samples_of(own, theirs)
    logs = np.log(samples.artifact.output_tps / samples.reference.output_tps)

    assert samples.estimate("latency.tps", 0.9, {}) == stats.median_ratio(logs, level=0.9)


def test_lost_pairs_are_refused() -> None:
    times = draw(6)
    whole = samples_of(times, times)

    with pytest.raises(MeasurementError, match=r"artifact: lost samples: got .*\(5, 8\)"):
        dataclasses.replace(whole, artifact=Timings(at_s=times[:5]))


@pytest.mark.parametrize(("check", "name"), [("ttft_slo", "ttft_ms"), ("itl_slo", "itl_ms")])
def test_a_service_level_is_a_percentile_of_the_artifacts_own_times(check: str, name: str) -> None:
    own, theirs = draw(120, slower=3.0, seed=1), draw(120, seed=2)
    samples = samples_of(own, theirs)

    found = samples.estimate(f"latency.{check}", 0.98, {"percentile": 95.0})

    values = getattr(samples.artifact, name)
    assert found == stats.percentile_interval(values, 0.95, level=0.98, unit="ms")
    assert values.min() < found.low <= found.value <= found.high <= values.max()


def test_a_percentile_that_the_requests_cannot_bound_is_refused() -> None:
    times = draw(24)

    with pytest.raises(MeasurementError, match="got 24; expected at least 90"):
        samples_of(times, times).estimate("latency.ttft_slo", 0.98, {"percentile": 95.0})


@pytest.mark.parametrize("check", QUANTITIES)
def test_the_report_holds_what_the_verdict_rests_on(check: str) -> None:
    own, theirs = draw(20, slower=1.1, seed=1), draw(20, seed=2)
    samples = samples_of(own, theirs)

    kept = json.loads(json.dumps(samples.details(check), allow_nan=False))

    both = kept["samples"]
    again = stats.median_ratio(np.log(np.divide(both["artifact"], both["reference"])), level=0.95)
    found = samples.estimate(check, 0.95, {})
    assert (again.value, again.low, again.high) == pytest.approx(
        (found.value, found.low, found.high), rel=1e-4
    )
    assert kept["formula"] == f"qgate.{check.partition('.')[2]}.1"
    assert kept["artifact_median"] == pytest.approx(np.median(both["artifact"]), abs=1e-4)
    assert kept["reference_median"] == pytest.approx(np.median(both["reference"]), abs=1e-4)
    assert (kept["pairs"], kept["warmup"], kept["order"][:4]) == (20, 1, "ABBA")


def test_the_headline_is_the_artifacts_medians() -> None:
    own, theirs = draw(20, slower=2.0, seed=1), draw(20, seed=2)
    samples = samples_of(own, theirs)

    assert samples.headline() == {
        "ttft_ms": pytest.approx(np.median(own[:, 0]) * 1e3),
        "itl_ms": pytest.approx(np.median(samples.artifact.itl_ms)),
        "output_tps": pytest.approx(np.median(samples.artifact.output_tps)),
    }
    assert samples.reference_headline()["ttft_ms"] == pytest.approx(np.median(theirs[:, 0]) * 1e3)


def test_a_benchmark_gets_the_recorded_seconds() -> None:
    own, theirs = draw(20, slower=2.0, seed=1), draw(20, seed=2)
    samples = samples_of(own, theirs)

    assert samples.benchmark("latency.ttft")[0] == pytest.approx(own[:, 0])
    assert samples.benchmark("latency.itl")[0] == pytest.approx(samples.artifact.itl_ms / 1e3)
    seconds, facts = samples.benchmark("latency.tps")
    assert seconds == pytest.approx(1 / samples.artifact.output_tps)
    assert facts["output_tps"] == pytest.approx(np.median(samples.artifact.output_tps))
    assert facts["reference_median"] == pytest.approx(np.median(samples.reference.output_tps))
    assert facts["ratio"]["low"] < facts["ratio"]["value"] < facts["ratio"]["high"]
    json.dumps(facts, allow_nan=False)


def test_every_row_of_latency_can_be_estimated() -> None:
    times = draw(120)
    samples = samples_of(times, times)
    rows = [check for check in CHECKS.values() if check.area == "latency"]

    for check in rows:
        found = samples.estimate(check.name, 0.95, {"percentile": 90.0})
        assert found.unit == check.unit
        assert samples.details(check.name)["samples"]
    assert len(rows) == 5
