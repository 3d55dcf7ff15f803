"""Scoring without logits, against the same bigram model scored with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.measure.perplexity.rows import MIN_COVERED_MASS, explain
from qgate.reference.samples import Samples
from qgate.runtimes.base import Span
from qgate.runtimes.fake.adapter import Fake
from qgate.runtimes.worker import logprob_scoring as top_k_scoring
from qgate.runtimes.worker import prompt_logprobs as top_k
from qgate.runtimes.worker import spans as sequences
from qgate.runtimes.worker.logprob_scoring import TopKScorer
from tests.runtimes.worker.logprob_runtimes import TopKFake
from tests.runtimes.worker.reference_and_artifact import (
    STRIDE,
    TOKENS,
    VOCABULARY,
    WINDOWS,
    Scene,
    loaded,
    silent,
    with_logits,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def whole(scene: Scene) -> dict[str, Any]:
    """Both models with logits: the whole divergence."""
    stored = scene.stored("rows")
    kept = with_logits(scene.reference, scene.request(stored))
    return with_logits(scene.artifact, scene.request(stored, kept))


def crossed(scene: Scene, reference: Callable[..., Any], artifact: Callable[..., Any]) -> Any:
    stored = scene.stored("top_k" if reference is without else "rows")
    kept = reference(scene.reference, scene.request(stored))
    return artifact(scene.artifact, scene.request(stored, kept))


PAIRS = [
    pytest.param(without, without, id="both without logits"),
    pytest.param(with_logits, without, id="reference with logits"),
    pytest.param(without, with_logits, id="artifact with logits"),
]


def test_likelihoods_are_those_of_logits(scene: Scene) -> None:
    plain = scene.request(None)

    found, wanted = without(scene.reference, plain), with_logits(scene.reference, plain)

    assert found["nll_nats"] == pytest.approx(wanted["nll_nats"], abs=1e-5)


@pytest.mark.parametrize(("reference", "artifact"), PAIRS)
def test_the_divergence_is_below_and_near_the_whole(
    scene: Scene, reference: Callable[..., Any], artifact: Callable[..., Any]
) -> None:
    wanted = whole(scene)

    found = crossed(scene, reference, artifact)

    assert found["covered_mass"].mean() > 0.99
    # the store of logits rounds to 16 bits: a few 1e-5 either way
    assert (found["kl_nats"] <= wanted["kl_nats"] + 1e-4).all()
    assert found["kl_nats"].mean() == pytest.approx(wanted["kl_nats"].mean(), rel=0.05)
    assert found["kl_nats"].mean() > 0.005
    assert (found["same_top"] == wanted["same_top"]).all()
    assert found["nll_nats"] == pytest.approx(wanted["nll_nats"], abs=1e-5)


@pytest.mark.parametrize(("reference", "artifact"), PAIRS)
def test_with_all_tokens_it_is_the_whole(
    scene: Scene,
    reference: Callable[..., Any],
    artifact: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(top_k_scoring, "TOP", VOCABULARY)
    monkeypatch.setattr(top_k_scoring, "SEARCHED", VOCABULARY)

    found = crossed(scene, reference, artifact)

    assert found["kl_nats"] == pytest.approx(whole(scene)["kl_nats"], abs=1e-4)
    assert found["kl_nats"].mean() == pytest.approx(whole(scene)["kl_nats"].mean(), abs=2e-5)
    assert found["covered_mass"] == pytest.approx(1.0, abs=1e-5)


def test_naming_the_tokens_covers_all_that_is_kept(scene: Scene) -> None:
    stored = scene.stored("top_k")
    kept = without(scene.reference, scene.request(stored))

    named = without(scene.artifact, scene.request(stored, kept), reads_named=True)
    searched = without(scene.artifact, scene.request(stored, kept))

    assert named["covered_mass"] == pytest.approx(kept["covered_mass"], abs=1e-9)
    assert (named["covered_mass"] >= searched["covered_mass"] - 1e-9).all()
    assert (named["kl_nats"] >= searched["kl_nats"] - 1e-9).all()
    assert named["same_top"].tolist() == searched["same_top"].tolist()


def test_naming_asks_for_no_long_list(scene: Scene) -> None:
    stored = scene.stored("top_k")
    kept = without(scene.reference, scene.request(stored))
    asked = []
    for reads_named in (True, False):
        runtime = loaded(TopKFake(reads_named=reads_named), scene.artifact)
        TopKScorer(runtime, VOCABULARY, scene.request(stored, kept)).score(silent)
        asked += runtime.asked

    assert asked == [(1, True), (top_k.SEARCHED, False)]


def test_the_reference_is_nothing_away_from_its_second_scoring(scene: Scene) -> None:
    kept = without(scene.reference, scene.request(scene.stored("top_k")))

    positions = WINDOWS * len(range(0, TOKENS // 2 - 1, STRIDE))
    assert kept["kl_nats"].shape == kept["tops"].shape == kept["anchors"].shape == (positions,)
    assert np.abs(kept["kl_nats"]).max() < 1e-6
    assert np.load(scene.directory / "top_k.npy").shape == (positions, top_k.TOP)
    assert np.load(scene.directory / "top_k_ids.npy").dtype == np.int32


def test_a_reference_that_scores_differently_in_another_order_is_seen(scene: Scene) -> None:
    class Drifting(TopKFake):
        def read_prompts(self, spans: Any, top: int, named: Any = None) -> Any:
            for number, _ in enumerate(super().read_prompts(spans, top, named)):
                swapped = spans[number - 1] if number else spans[number]
                yield self._read(swapped, top, None)

    runtime = loaded(Drifting(), scene.reference)
    kept = TopKScorer(runtime, VOCABULARY, scene.request(scene.stored("top_k"))).score(silent)

    assert np.abs(kept["kl_nats"]).mean() > 0.1


def samples(found: dict[str, Any]) -> Samples:
    scored = len(found["nll_nats"]) // WINDOWS
    windows = np.arange(WINDOWS)
    compared = windows[:, None] * scored + np.arange(0, scored, STRIDE)
    return Samples(
        nll_nats=found["nll_nats"],
        reference_nll_nats=found["nll_nats"],
        clusters=np.repeat(windows, scored),
        kl_nats=found["kl_nats"],
        same_top=found["same_top"],
        compared=compared.reshape(-1),
        windows=np.repeat(windows, scored),
        places=np.full(len(windows) * scored, 0.5),
        covered_mass=found["covered_mass"],
    )


@pytest.mark.parametrize("check", ["divergence.kl_mean", "divergence.kl_p99"])
def test_a_bound_says_that_it_is_one_and_over_how_much(scene: Scene, check: str) -> None:
    found = samples(crossed(scene, without, without))

    details = explain(check, found)

    assert "lower bound" in details["bound"]
    assert MIN_COVERED_MASS < details["covered_mass"] <= 1.0
    assert details["covered_mass_p1"] <= details["covered_mass"]


def test_a_lost_mass_is_noticed(scene: Scene) -> None:
    found = crossed(scene, without, without)
    found["covered_mass"] = found["covered_mass"][:-1]

    with pytest.raises(MeasurementError, match=r"lost samples: got \d+ covered masses"):
        samples(found)


def test_spans_that_are_not_scored_are_told_of_as_with_the_model(scene: Scene) -> None:
    spans = [Span(ids=ids, first=3) for ids in scene.windows]
    told: list[tuple[object, ...]] = []

    top_k_scoring.score_spans(
        loaded(TopKFake(), scene.artifact), spans, lambda *said: told.append(said)
    )

    assert told == [("scoring", done, WINDOWS, (done, WINDOWS)) for done in range(WINDOWS + 1)]


def test_spans_score_as_with_logits(scene: Scene) -> None:
    rng = np.random.default_rng(8)
    spans = [
        Span(ids=rng.integers(3, VOCABULARY, size).astype(np.int32), first=first)
        for size, first in ((12, 0), (2, 0), (33, 20), (40, 38))
    ]

    found = top_k_scoring.score_spans(loaded(TopKFake(), scene.artifact), spans, silent)
    wanted = sequences.score_spans(loaded(Fake(), scene.artifact), spans, silent)

    for ours, theirs in zip(found.nll_nats, wanted.nll_nats, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)
    for ours, theirs in zip(found.is_top, wanted.is_top, strict=True):
        assert ours.tolist() == theirs.tolist()
