"""Estimates of perplexity and divergence cover a truth that is known on paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.artifacts import discover
from qgate.checks import CHECKS
from qgate.errors import MeasurementError
from qgate.measure.perplexity.divergence import measure_divergence
from qgate.measure.perplexity.rows import ROWS, explain
from qgate.reference.encoding import MIN_POSITIONS, cost_stride, subsample_stride
from qgate.reference.samples import Samples
from qgate.runtimes.base import ModelFacts
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.served_model import ServedModel
from qgate.thresholds import TextSettings
from tests.conftest import Toy
from tests.support.references import make_plan, measure

Toys = Callable[..., Path]

SETTINGS = TextSettings(source="generated", windows=64, window_tokens=128, positions="all")
NOISE = 0.15


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What two bigram models say of each other, by the token before."""

    share: np.ndarray
    """How often each token comes up in a long text of the reference."""
    entropy: np.ndarray
    """The reference's, nats."""
    kl: np.ndarray
    same_top: np.ndarray

    def mean(self, values: np.ndarray) -> float:
        return float(self.share @ values)


def read_tables(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import gguf

    tensors = {one.name: np.asarray(one.data) for one in gguf.GGUFReader(path).tensors}
    return tensors["token_embd.weight"].astype(float), tensors["output.weight"].astype(float)


def on_paper(reference: Path, artifact: Path) -> Truth:
    embedding, output = read_tables(reference)
    _, damaged = read_tables(artifact)
    log_p = log_softmax(embedding @ output.T, axis=1)
    log_q = log_softmax(embedding @ damaged.T, axis=1)
    p = np.exp(log_p)
    share = np.full(len(p), 1 / len(p))
    for _ in range(500):
        share = share @ p
    return Truth(
        share=share,
        entropy=-(p * log_p).sum(axis=1),
        kl=(p * (log_p - log_q)).sum(axis=1),
        same_top=log_p.argmax(axis=1) == log_q.argmax(axis=1),
    )


@pytest.fixture
def measured(toys: Toys, tmp_path: Path) -> tuple[Truth, Samples]:
    directory = toys(damaged=Toy(noise=NOISE))
    reference, _ = measure(tmp_path / "store", make_plan(directory / "original.gguf", SETTINGS))
    [artifact] = discover([directory / "damaged.gguf"])
    serving = ServedModel(artifact, lambda: Host(HostSettings(runtime="fake")))
    try:
        samples = measure_divergence(serving, reference).samples
    finally:
        serving.close()
    return on_paper(directory / "original.gguf", directory / "damaged.gguf"), samples


def test_intervals_cover_the_truth(measured: tuple[Truth, Samples]) -> None:
    truth, samples = measured
    reference_nll = truth.mean(truth.entropy)
    # in a text of the reference's own, the expected log-ratio of the two is the divergence
    nll = reference_nll + truth.mean(truth.kl)
    wanted = {
        "perplexity.increase": np.exp(nll) - np.exp(reference_nll),
        "perplexity.ratio": np.exp(truth.mean(truth.kl)),
        "divergence.kl_mean": truth.mean(truth.kl),
        "divergence.same_top": truth.mean(truth.same_top.astype(float)),
    }

    for name, value in wanted.items():
        found = ROWS[name](samples, level=0.99)
        assert found.low <= value <= found.high, name
        assert found.n == 64 * 63
        # wide enough would always cover
        assert found.high - found.low < 0.5 * abs(value - CHECKS[name].at_best), name

    order = np.argsort(truth.kl)
    below = np.cumsum(truth.share[order])
    p99 = truth.kl[order][np.searchsorted(below, 0.99)]
    found = ROWS["divergence.kl_p99"](samples, level=0.99)
    assert found.low <= p99 <= found.high
    assert found.high < 3 * truth.mean(truth.kl) + 3 * found.low


def test_point_values_are_the_plain_formulas(measured: tuple[Truth, Samples]) -> None:
    _, samples = measured
    nll, reference_nll = samples.nll_nats.mean(), samples.reference_nll_nats.mean()

    values = {name: row(samples, level=0.95).value for name, row in ROWS.items()}

    assert values["perplexity.increase"] == pytest.approx(np.exp(nll) - np.exp(reference_nll))
    assert values["perplexity.ratio"] == pytest.approx(np.exp(nll - reference_nll))
    assert values["divergence.kl_mean"] == pytest.approx(samples.kl_nats.mean(), abs=1e-9)
    assert values["divergence.kl_p99"] == pytest.approx(
        np.quantile(samples.kl_nats, 0.99), rel=0.05
    )
    assert values["divergence.same_top"] == samples.same_top.mean()


def test_every_row_has_the_unit_that_is_public(measured: tuple[Truth, Samples]) -> None:
    assert {name: row(measured[1], level=0.95).unit for name, row in ROWS.items()} == {
        name: check.unit
        for name, check in CHECKS.items()
        if check.area in ("perplexity", "divergence")
    }


def make_samples(count: int = 60, **changes: Any) -> Samples:
    rng = np.random.default_rng(count)
    values = {
        "nll_nats": rng.random(count) + 1.0,
        "reference_nll_nats": rng.random(count) + 1.0,
        "clusters": np.repeat(np.arange(6), count // 6),
        "kl_nats": rng.random(count // 2),
        "same_top": rng.random(count // 2) < 0.8,
        "compared": np.arange(0, count, 2),
        "windows": np.arange(count) // 10,
        "places": np.arange(count) % 10 / 10 + 0.05,
    }
    return Samples(**{**values, **changes})


LOST = [
    ({"nll_nats": np.zeros(59)}, "lost samples: got 59 scored tokens; expected 60"),
    ({"nll_nats": np.zeros(61)}, "lost samples: got 61 scored tokens; expected 60"),
    ({"nll_nats": np.zeros(0)}, "lost samples: got 0 scored tokens; expected 60"),
    ({"clusters": np.zeros(59)}, "lost samples: got 60 scored tokens; expected 60"),
    ({"kl_nats": np.zeros(29)}, "lost samples: got 29 divergences; expected 30"),
    ({"same_top": np.zeros(29, bool)}, "lost samples: got 30 divergences; expected 30"),
    ({"compared": np.arange(31)}, "lost samples: got 30 divergences; expected 31"),
]


@pytest.mark.parametrize(("change", "line"), LOST, ids=[line for _, line in LOST])
def test_lost_samples_are_refused(change: dict[str, Any], line: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        make_samples(**change)

    assert str(caught.value) == line


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["nll_nats", "reference_nll_nats", "kl_nats"])
def test_one_number_that_is_none_voids_its_rows(name: str, bad: float) -> None:
    values = getattr(make_samples(), name).copy()
    values[3] = bad
    samples = make_samples(**{name: values})

    touched = ["divergence.kl_mean", "divergence.kl_p99"]
    if name != "kl_nats":
        touched = ["perplexity.increase", "perplexity.ratio"]
    for row in touched:
        with pytest.raises(MeasurementError, match="not finite"):
            ROWS[row](samples, level=0.95)


def test_the_histogram_counts_every_position_once() -> None:
    kl = np.array([-1e-9, 0.0, 9e-8, 1e-7, 1e-3, 2.0, 99.0, 100.0, 101.0, 5e4])
    samples = make_samples(kl_nats=kl, same_top=np.ones(10, bool), compared=np.arange(0, 60, 6))

    found = explain("divergence.kl_mean", samples)["kl_histogram"]

    assert (found["below"], found["above"]) == (3, 2)
    assert found["below"] + sum(found["counts"]) + found["above"] == len(kl)
    assert len(found["edges_nats"]) == len(found["counts"]) + 1
    assert found["edges_nats"] == sorted(found["edges_nats"])


def test_the_worst_windows_come_first_and_are_named_by_their_place() -> None:
    samples = make_samples()
    kl_means = samples.kl_nats.reshape(6, 5).mean(axis=1)
    rises = (samples.nll_nats - samples.reference_nll_nats).reshape(6, 10).mean(axis=1)

    worst = explain("divergence.kl_mean", samples)["worst_windows"]

    assert [row["window"] for row in worst] == np.argsort(-kl_means).tolist()
    for row in worst:
        assert row["kl_mean_nats"] == pytest.approx(kl_means[row["window"]])
        assert row["nll_increase_nats"] == pytest.approx(rises[row["window"]])
    assert len(explain("divergence.kl_mean", make_samples(240))["worst_windows"]) == 10


def facts(width: int, n_vocab: int, n_params: int) -> ModelFacts:
    return ModelFacts(
        n_vocab=n_vocab,
        width=width,
        n_params=n_params,
        context_length=512,
        bos=1,
        adds_bos=True,
        first_token=1,
        end_tokens=(2,),
        weights_bytes=1,
        load_s=0.0,
    )


SHAPES = {
    "Llama 3.1 8B": facts(4096, 128_256, 8_030_000_000),
    "Qwen 2.5 0.5B": facts(896, 151_936, 494_000_000),
    "nothing but the matrix": facts(64, 64, 4096),
    "no matrix to speak of": facts(1, 1, 10**12),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_rebuilding_distributions_costs_a_small_share_of_decoding(shape: ModelFacts) -> None:
    share = shape.width * shape.n_vocab / (2 * shape.n_params)

    stride = cost_stride(shape)

    assert share / stride <= 0.05
    assert stride == 1 or share / (stride - 1) > 0.05


def test_a_large_model_is_compared_everywhere() -> None:
    assert cost_stride(SHAPES["Llama 3.1 8B"]) == 1


@pytest.mark.parametrize(
    ("wanted", "scored", "used"),
    [
        (1, 10**9, 1),
        (5, 0, 1),
        (5, MIN_POSITIONS - 1, 1),
        (5, MIN_POSITIONS, 1),
        (5, 2 * MIN_POSITIONS - 1, 1),
        (5, 2 * MIN_POSITIONS, 2),
        (5, 5 * MIN_POSITIONS - 1, 4),
        (5, 5 * MIN_POSITIONS, 5),
        (5, 10**9, 5),
    ],
)
def test_thinning_out_leaves_enough_positions(wanted: int, scored: int, used: int) -> None:
    assert subsample_stride(wanted, scored) == used
    assert scored // used >= min(scored, MIN_POSITIONS)


def test_the_divergence_is_told_by_groups_of_tokens() -> None:
    confidence = np.array([0.1, 0.3, 0.5, 0.8, 0.95, 1.0])
    samples = make_samples(
        kl_nats=np.arange(6.0),
        same_top=np.ones(6, bool),
        compared=np.array([0, 12, 24, 36, 48, 59]),
        slices=("chat", "code"),
        topics=np.arange(60) // 12 % 2,
        confidence=confidence,
    )

    found = explain("divergence.kl_mean", samples)["kl_by"]

    assert found == {
        "confidence": {
            "0 to 0.25": {"n": 1, "kl_mean_nats": 0.0},
            "0.25 to 0.5": {"n": 1, "kl_mean_nats": 1.0},
            "0.5 to 0.75": {"n": 1, "kl_mean_nats": 2.0},
            "0.75 to 0.95": {"n": 1, "kl_mean_nats": 3.0},
            "0.95 to 1": {"n": 2, "kl_mean_nats": 4.5},
        },
        "slice": {"chat": {"n": 4, "kl_mean_nats": 2.75}, "code": {"n": 2, "kl_mean_nats": 2.0}},
        "position": {
            "1 of 4": {"n": 1, "kl_mean_nats": 0.0},
            "2 of 4": {"n": 2, "kl_mean_nats": 1.5},
            "3 of 4": {"n": 1, "kl_mean_nats": 3.0},
            "4 of 4": {"n": 2, "kl_mean_nats": 4.5},
        },
    }


def test_groups_that_nobody_tells_of_are_left_out() -> None:
    assert list(explain("divergence.kl_mean", make_samples())["kl_by"]) == ["position"]
