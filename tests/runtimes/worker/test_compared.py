"""Of the kept positions some are compared: these as ever, and of the others nothing is told."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.reference.output_matrix import find_output_matrix
from qgate.runtimes.base import LoadSettings
from qgate.runtimes.fake.adapter import Fake
from qgate.runtimes.worker.scoring import Scorer, ScoreRequest
from tests.runtimes.worker.reference_and_artifact import (
    STRIDE,
    TOKENS,
    WINDOWS,
    loaded,
    silent,
    with_logits,
)

if TYPE_CHECKING:
    from qgate.runtimes.worker.reference_logits import Stored
    from tests.runtimes.worker.reference_and_artifact import Scene

A_WINDOW = len(range(0, TOKENS // 2 - 1, STRIDE))
MASKS = {
    "some": np.random.default_rng(3).random(WINDOWS * A_WINDOW) < 0.4,
    "whole windows": np.arange(WINDOWS * A_WINDOW) // A_WINDOW % 3 == 1,
    "one": np.arange(WINDOWS * A_WINDOW) == 9,
    "none": np.zeros(WINDOWS * A_WINDOW, dtype=bool),
    "all": np.ones(WINDOWS * A_WINDOW, dtype=bool),
}
EVERY_MASK = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
BOTH_ENCODINGS = pytest.mark.parametrize("encoding", ["rows", "hidden"])


def stored_as(scene: Scene, encoding: str) -> Stored:
    stored = scene.stored(encoding)
    if encoding == "rows":
        return stored
    [reference] = discover([scene.reference])
    facts = Fake().load(LoadSettings(path=str(scene.reference), window_tokens=TOKENS))
    matrix = find_output_matrix(reference, facts)
    assert matrix is not None
    return dataclasses.replace(stored, matrix=matrix)


def score(path: Any, request: ScoreRequest, mask: np.ndarray | None = None) -> dict[str, Any]:
    return with_logits(path, dataclasses.replace(request, compared=mask))


def same_but_for_kl(one: dict[str, Any], other: dict[str, Any]) -> bool:
    assert one.keys() == other.keys()
    told = [name for name in one if name not in ("kl_nats", "decode_s")]
    return all(np.array_equal(one[name], other[name]) for name in told)


@BOTH_ENCODINGS
@EVERY_MASK
def test_compared_positions_have_the_divergence_that_they_have_without(
    scene: Scene, encoding: str, mask: np.ndarray
) -> None:
    stored = stored_as(scene, encoding)
    kept = score(scene.reference, scene.request(stored))
    whole = score(scene.artifact, scene.request(stored, kept))

    found = score(scene.artifact, scene.request(stored, kept), mask)

    # fewer rows in a product of matrices are added up in another order
    assert found["kl_nats"][mask] == pytest.approx(whole["kl_nats"][mask], abs=1e-6, rel=1e-5)
    assert not mask.any() or found["kl_nats"][mask].mean() > 1e-3
    assert (found["kl_nats"][~mask] == 0.0).all()
    assert same_but_for_kl(found, whole)


@BOTH_ENCODINGS
@EVERY_MASK
def test_of_the_reference_everything_is_kept_and_some_of_it_is_compared(
    scene: Scene, encoding: str, mask: np.ndarray
) -> None:
    stored = stored_as(scene, encoding)
    whole = score(scene.reference, scene.request(stored))
    array = np.load(stored.array)

    found = score(scene.reference, scene.request(stored), mask)

    assert found["kl_nats"][mask] == pytest.approx(whole["kl_nats"][mask], abs=1e-6)
    assert (found["kl_nats"][~mask] == 0.0).all()
    assert np.abs(whole["kl_nats"]).max() < 1e-4
    assert same_but_for_kl(found, whole)
    assert np.array_equal(np.load(stored.array), array)


class Huge(Fake):
    """Says one state of one window that 16 bits cannot hold; its logits are the right ones."""

    def logits_of_windows(self, windows: np.ndarray, first: int, *, with_hidden: bool) -> Any:
        for logits, states in super().logits_of_windows(windows, first, with_hidden=with_hidden):
            changed = np.array(states)
            changed[-1, 2 * STRIDE, 0] = 1e5
            yield logits, changed


@pytest.mark.parametrize("mask", [None, MASKS["none"]], ids=["all", "none"])
def test_a_number_too_large_to_keep_is_told_of_all_that_it_is_kept_with(
    scene: Scene, mask: np.ndarray | None
) -> None:
    """Compared or not: a reference that is not kept whole is not kept."""
    request = dataclasses.replace(scene.request(stored_as(scene, "hidden")), compared=mask)

    found = Scorer(loaded(Huge(), scene.reference), request).score(silent)

    assert np.isinf(found["kl_nats"][2::A_WINDOW]).any()
    assert np.isfinite(found["nll_nats"]).all()

    # as rows there is no such number
    rows = dataclasses.replace(scene.request(scene.stored("rows")), compared=mask)
    kept = Scorer(loaded(Huge(), scene.reference), rows).score(silent)
    assert np.abs(kept["kl_nats"]).max() < 1e-4
