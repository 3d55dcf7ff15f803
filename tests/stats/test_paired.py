from __future__ import annotations

import math

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import perplexity, perplexity_increase, perplexity_ratio

CLUSTERS = np.repeat(np.arange(24), 60)
LEVEL = 0.95


def pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.gamma(0.8, 2.5, CLUSTERS.size) * rng.lognormal(0.0, 0.2, 24)[CLUSTERS]
    return reference + 0.03 + 0.2 * rng.standard_normal(CLUSTERS.size), reference


def test_point_values_are_llama_perplexitys() -> None:
    artifact, reference = pairs(1)
    ours = (
        perplexity(artifact, CLUSTERS, level=LEVEL).value,
        perplexity_ratio(artifact, reference, CLUSTERS, level=LEVEL).value,
        perplexity_increase(artifact, reference, CLUSTERS, level=LEVEL).value,
    )
    both = math.exp(artifact.mean()), math.exp(reference.mean())
    assert ours == pytest.approx((both[0], both[0] / both[1], both[0] - both[1]), rel=1e-12)


def test_a_model_against_itself_is_exactly_equal() -> None:
    _, reference = pairs(2)
    ratio = perplexity_ratio(reference, reference.copy(), CLUSTERS, level=LEVEL)
    increase = perplexity_increase(reference, reference.copy(), CLUSTERS, level=LEVEL)
    assert (ratio.value, ratio.low, ratio.high) == (1.0, 1.0, 1.0)
    assert (increase.value, increase.low, increase.high) == (0.0, 0.0, 0.0)


def test_swapping_the_sides_inverts_the_ratio_and_negates_the_increase() -> None:
    artifact, reference = pairs(3)
    there = perplexity_ratio(artifact, reference, CLUSTERS, level=LEVEL)
    back = perplexity_ratio(reference, artifact, CLUSTERS, level=LEVEL)
    assert (1 / back.high, 1 / back.value, 1 / back.low) == pytest.approx(
        (there.low, there.value, there.high), rel=1e-12
    )
    there = perplexity_increase(artifact, reference, CLUSTERS, level=LEVEL)
    back = perplexity_increase(reference, artifact, CLUSTERS, level=LEVEL)
    assert (-back.high, -back.value, -back.low) == pytest.approx(
        (there.low, there.value, there.high), rel=1e-9
    )


def test_pairing_cancels_what_is_hard_in_the_text() -> None:
    artifact, reference = pairs(4)
    paired = perplexity_increase(artifact, reference, CLUSTERS, level=LEVEL)
    alone = perplexity(artifact, CLUSTERS, level=LEVEL)
    assert paired.high - paired.low < 0.25 * (alone.high - alone.low)


def test_small_increase_is_the_ratio_times_the_references_perplexity() -> None:
    artifact, reference = pairs(5)
    artifact = reference + 0.01 * (artifact - reference)
    base = math.exp(reference.mean())
    ratio = perplexity_ratio(artifact, reference, CLUSTERS, level=LEVEL)
    increase = perplexity_increase(artifact, reference, CLUSTERS, level=LEVEL)
    assert increase.value == pytest.approx(base * (ratio.value - 1.0), rel=1e-9)
    assert increase.high - increase.low == pytest.approx(base * (ratio.high - ratio.low), rel=0.05)


def test_units_and_counts_are_told() -> None:
    artifact, reference = pairs(6)
    ratio = perplexity_ratio(artifact, reference, CLUSTERS, level=LEVEL)
    increase = perplexity_increase(artifact, reference, CLUSTERS, level=LEVEL)
    assert (ratio.unit, ratio.n, ratio.level) == ("ratio", CLUSTERS.size, LEVEL)
    assert ratio.method == "exp of cluster-robust t, skewness-corrected (23 df)"
    assert (increase.unit, increase.n, increase.level) == ("perplexity", CLUSTERS.size, LEVEL)
    assert increase.method == "paired delta method, cluster-robust t (23 df)"


BAD = {
    "unpaired": (
        [1.0, 2.0, 3.0],
        [1.0, 2.0],
        [0, 1, 1],
        ": the two sides did not score the same tokens: got shapes (3,) and (2,); expected pairs.",
    ),
    "lost in the artifact": (
        [1.0, math.inf],
        [1.0, math.inf],
        [0, 1],
        ", artifact: 1 of 2 values are not finite: got inf at index 1; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
    "lost in the reference": (
        [1.0, 2.0],
        [math.nan, 2.0],
        [0, 1],
        ", reference: 1 of 2 values are not finite: got nan at index 0; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    ("what", "compare"),
    [("perplexity ratio", perplexity_ratio), ("perplexity increase", perplexity_increase)],
)
def test_bad_pairs_are_refused_in_one_line(what: str, compare: object, bad: str) -> None:
    artifact, reference, clusters, message = BAD[bad]
    with pytest.raises(MeasurementError) as caught:
        compare(artifact, reference, clusters, level=LEVEL)
    assert str(caught.value) == f"{what}{message}"


def test_a_perplexity_beyond_floating_point_is_no_measurement() -> None:
    with pytest.raises(MeasurementError) as caught:
        perplexity([800.0, 801.0, 802.0, 803.0], [0, 0, 1, 1], level=LEVEL)
    assert str(caught.value) == (
        "perplexity: out of range: got exp(801.5); expected an exponent below 709. "
        "The model is broken, or the text has too few documents for this level."
    )
