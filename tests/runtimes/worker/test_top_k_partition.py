"""Divergence over a partition: never more than the whole, the same where nothing is left over."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.runtimes.worker.partition_kl import look_up, partition_divergence

POSITIONS, VOCABULARY = 40, 500


def pair(sharpness: float = 1.0, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    logits = rng.normal(0.0, 3.0 * sharpness, (POSITIONS, VOCABULARY))
    return (
        log_softmax(logits, axis=1),
        log_softmax(logits + rng.normal(0.0, noise, logits.shape), axis=1),
    )


def whole_kl(reference: np.ndarray, artifact: np.ndarray) -> np.ndarray:
    return (np.exp(reference) * (reference - artifact)).sum(axis=1)


def top(reference: np.ndarray, artifact: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.argsort(-reference, axis=1)[:, :k]
    return np.take_along_axis(reference, ids, axis=1), np.take_along_axis(artifact, ids, axis=1)


@pytest.mark.parametrize("k", [1, 8, 64, 256])
def test_it_is_a_lower_bound(k: int) -> None:
    reference, artifact = pair()

    kl, covered = partition_divergence(*top(reference, artifact, k))

    assert (kl <= whole_kl(reference, artifact) + 1e-9).all()
    assert (kl >= -1e-12).all()
    assert covered == pytest.approx(np.exp(top(reference, artifact, k)[0]).sum(axis=1))


def test_more_tokens_never_make_it_smaller() -> None:
    reference, artifact = pair()

    found = [
        partition_divergence(*top(reference, artifact, k))[0] for k in (1, 2, 16, 128, VOCABULARY)
    ]

    assert all((few <= more + 1e-9).all() for few, more in itertools.pairwise(found))


def test_with_the_whole_vocabulary_it_is_the_whole_divergence() -> None:
    reference, artifact = pair()

    kl, covered = partition_divergence(*top(reference, artifact, VOCABULARY))

    assert kl == pytest.approx(whole_kl(reference, artifact), abs=1e-9)
    assert covered == pytest.approx(1.0)


def test_it_is_near_the_whole_where_the_tokens_carry_nearly_all_mass() -> None:
    reference, artifact = pair(sharpness=1.5)

    kl, covered = partition_divergence(*top(reference, artifact, 64))

    assert covered.mean() > 0.99
    assert kl.mean() == pytest.approx(whole_kl(reference, artifact).mean(), rel=0.03)


def test_tokens_that_are_not_told_join_the_rest() -> None:
    reference, artifact = pair()
    theirs, ours = top(reference, artifact, 16)
    told = ours.copy()
    told[:, 3:8] = np.nan

    kl, covered = partition_divergence(theirs, told)
    by_hand = np.delete(theirs, slice(3, 8), axis=1), np.delete(ours, slice(3, 8), axis=1)

    assert kl == pytest.approx(partition_divergence(*by_hand)[0], abs=1e-12)
    assert (kl <= partition_divergence(theirs, ours)[0] + 1e-9).all()
    assert covered == pytest.approx(np.exp(by_hand[0]).sum(axis=1))


def test_where_nothing_is_told_nothing_is_covered() -> None:
    reference, _ = pair()

    kl, covered = partition_divergence(reference[:, :8], np.full((POSITIONS, 8), np.nan))

    assert kl == pytest.approx(0.0, abs=1e-12)
    assert (covered == 0.0).all()


def test_a_token_that_the_artifact_rules_out_is_infinitely_far() -> None:
    reference, artifact = pair()
    theirs, ours = top(reference, artifact, 8)
    ours[5, 0] = -np.inf

    kl, _ = partition_divergence(theirs, ours)

    assert np.isinf(kl[5])
    assert np.isfinite(np.delete(kl, 5)).all()


def test_equal_models_in_float32_are_nearly_nothing_apart() -> None:
    reference, _ = pair()
    theirs = top(reference, reference, 128)[0].astype(np.float32)
    again = (theirs.astype(np.float64) + 1e-7).astype(np.float32)

    kl, _ = partition_divergence(theirs, again)

    assert np.abs(kl).max() < 1e-5


def test_what_is_looked_up_is_found_wherever_it_stands() -> None:
    ids = np.array([[5, 9, 2], [7, 1, 3]], dtype=np.int32)
    lists = np.array([[9, 4, 5, 0], [1, 2, 3, 4]], dtype=np.int32)
    values = np.array([[-0.9, -0.4, -0.5, -9.0], [-0.1, -0.2, -0.3, -0.4]], dtype=np.float32)

    found = look_up(ids, lists, values)

    assert found[0] == pytest.approx([-0.5, -0.9, np.nan], nan_ok=True)
    assert found[1] == pytest.approx([np.nan, -0.1, -0.3], nan_ok=True)
