"""Whole rows that a runtime reduces itself, against the same model scored with its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.worker.whole_scoring import score_whole
from tests.runtimes.worker.logprob_runtimes import WholeFake
from tests.runtimes.worker.reference_and_artifact import (
    STRIDE,
    TOKENS,
    VOCABULARY,
    WINDOWS,
    loaded,
    silent,
    with_logits,
)

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.runtimes.worker.scoring import ScoreRequest
    from tests.runtimes.worker.reference_and_artifact import Scene

POSITIONS = WINDOWS * len(range(0, TOKENS // 2 - 1, STRIDE))


def whole(path: Path, request: ScoreRequest, **how: Any) -> dict[str, Any]:
    return score_whole(loaded(WholeFake(**how), path), VOCABULARY, request, silent)


@pytest.mark.parametrize("part", [1, 7, 40])
def test_reference_and_artifact_are_measured_as_with_logits(scene: Scene, part: int) -> None:
    """However the prompts are cut into parts: an engine reads several side by side."""
    stored = scene.stored("rows")
    wanted_kept = with_logits(scene.reference, scene.request(stored))
    wanted = with_logits(scene.artifact, scene.request(stored, wanted_kept))

    kept = whole(scene.reference, scene.request(stored), part=part)
    found = whole(scene.artifact, scene.request(stored, kept), part=part)

    assert kept["kl_nats"].shape == (POSITIONS,)
    assert np.abs(kept["kl_nats"]).mean() < 1e-5
    assert kept["tops"].tolist() == wanted_kept["tops"].tolist()
    assert found["kl_nats"] == pytest.approx(wanted["kl_nats"], abs=1e-6)
    assert found["kl_nats"].mean() > 0.005
    assert found["same_top"].tolist() == wanted["same_top"].tolist()
    assert found["nll_nats"] == pytest.approx(wanted["nll_nats"], abs=1e-5)
    assert "covered_mass" not in found


def test_a_reference_that_another_runtime_kept_serves_it(scene: Scene) -> None:
    stored = scene.stored("rows")
    kept = with_logits(scene.reference, scene.request(stored))

    found = whole(scene.artifact, scene.request(stored, kept))

    wanted = with_logits(scene.artifact, scene.request(stored, kept))
    assert found["kl_nats"] == pytest.approx(wanted["kl_nats"], abs=1e-6)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"shift": 1.0}, "not those that the runtime tells: got a difference of"),
        ({"shift": float("nan")}, "not those that the runtime tells: got a difference of nan"),
        ({"loses": 2}, f"lost samples: got {POSITIONS * 2 // 3} rows; expected {POSITIONS}"),
        ({"fails": "no such method"}, "no such method"),
    ],
)
def test_what_is_not_believed_is_compared_over_the_likeliest_tokens(
    scene: Scene, how: dict[str, Any], why: str
) -> None:
    """The reference's store, whole rows, serves both ways."""
    stored = scene.stored("rows")
    kept = whole(scene.reference, scene.request(stored))
    exact = whole(scene.artifact, scene.request(stored, kept))

    found = whole(scene.artifact, scene.request(stored, kept), **how)

    assert why in found["why_partition"]
    assert found["why_partition"].endswith(". Set OTHER=1")
    assert found["covered_mass"].mean() > 0.99
    assert (found["kl_nats"] <= exact["kl_nats"] + 1e-4).all()
    assert found["kl_nats"].mean() == pytest.approx(exact["kl_nats"].mean(), rel=0.05)


def test_a_reference_that_is_not_believed_is_not_kept_whole(scene: Scene) -> None:
    found = whole(scene.reference, scene.request(scene.stored("rows")), loses=1)

    assert list(found) == ["why_partition"]


def test_a_reference_kept_as_likeliest_tokens_is_compared_over_them(scene: Scene) -> None:
    stored = scene.stored("top_k")

    kept = whole(scene.reference, scene.request(stored))
    found = whole(scene.artifact, scene.request(stored, kept))

    assert found["covered_mass"].mean() > 0.99


def test_a_store_that_is_too_short_is_refused_and_no_reason_to_compare_less(scene: Scene) -> None:
    stored = scene.stored("rows")
    kept = whole(scene.reference, scene.request(stored))
    np.save(stored.array, np.load(stored.array)[:-3])

    with pytest.raises(MeasurementError, match="Delete the store to have it measured again"):
        whole(scene.artifact, scene.request(stored, kept))
