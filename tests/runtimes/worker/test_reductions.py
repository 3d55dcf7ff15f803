"""Reductions against a plain float64 computation, from ordinary logits to absurd ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, rel_entr

from qgate.runtimes.worker import reductions
from qgate.runtimes.worker.threads import ThreadTeam

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 40
RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def team() -> Iterator[ThreadTeam]:
    with ThreadTeam(2) as threads:
        yield threads


def normal(n_vocab: int, scale: float = 3.0, offset: float = 0.0) -> np.ndarray:
    drawn = np.random.default_rng(n_vocab).normal(offset, scale, (ROWS, n_vocab))
    return drawn.astype(np.float32)


def near(logits: np.ndarray, noise: float, offset: float = 0.0) -> np.ndarray:
    moved = logits + np.random.default_rng(1).normal(offset, noise, logits.shape)
    return moved.astype(np.float32)


def one_hot(n_vocab: int, height: float) -> np.ndarray:
    logits = np.zeros((ROWS, n_vocab), dtype=np.float32)
    logits[np.arange(ROWS), np.arange(ROWS) * 7 % n_vocab] = height
    return logits


def ramp(n_vocab: int, reach: float) -> np.ndarray:
    return np.tile(np.linspace(-reach, reach, n_vocab, dtype=np.float32), (ROWS, 1))


EQUAL = np.full((ROWS, 3000), 7.5, dtype=np.float32)
PAIRS = {
    "one token": (normal(1), near(normal(1), 1.0)),
    "two tokens": (normal(2), near(normal(2), 1.0)),
    "a small vocabulary": (normal(17), near(normal(17), 0.5)),
    "one tile": (normal(2048), near(normal(2048), 0.1)),
    "one token more than a tile": (normal(2049), near(normal(2049), 0.1)),
    "tiles and a rest": (normal(5000), near(normal(5000), 0.1)),
    "a large vocabulary": (normal(151_936), near(normal(151_936), 0.02)),
    "unlike models": (normal(5000), normal(5001)[:, 1:]),
    "a hair apart": (normal(5000), near(normal(5000), 1e-3)),
    "a constant apart": (normal(5000), near(normal(5000), 0.1, offset=1000.0)),
    "far from zero": (normal(5000, offset=-120.0), near(normal(5000, offset=-120.0), 0.1)),
    "sharp": (normal(5000, scale=60.0), near(normal(5000, scale=60.0), 1.0)),
    "a huge range": (ramp(5000, 1e4), near(ramp(5000, 1e4), 0.5)),
    "turned round": (ramp(3000, 20.0), -ramp(3000, 20.0)),
    "certain of the same": (one_hot(3000, 80.0), one_hot(3000, 90.0)),
    "certain and unsure": (one_hot(3000, 80.0), EQUAL),
    "unsure and certain": (EQUAL, one_hot(3000, 30.0)),
    "all equal": (EQUAL, EQUAL + np.float32(1.0)),
    "ties": (np.round(normal(5000)), np.round(near(normal(5000), 1.0))),
    "the last tile decides": (ramp(4100, 200.0), near(ramp(4100, 200.0), 0.2)),
}
by_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
Pair = tuple[np.ndarray, np.ndarray]


def windows(rows: np.ndarray) -> np.ndarray:
    """The rows as those of two windows."""
    return rows.reshape(2, -1, rows.shape[-1])


def kl_of(reference: np.ndarray, artifact: np.ndarray, team: ThreadTeam) -> np.ndarray:
    return reductions.divergence(
        lambda start, stop: reference[:, start:stop].copy(),
        reductions.log_normalizers(reference[None], team)[0],
        windows(artifact),
        reductions.log_normalizers(windows(artifact), team),
        team,
    )


def plain_kl(reference: np.ndarray, artifact: np.ndarray) -> np.ndarray:
    log_p = log_softmax(reference.astype(np.float64), axis=1)
    log_q = log_softmax(artifact.astype(np.float64), axis=1)
    with np.errstate(under="ignore"):
        terms = np.exp(log_p) * (log_p - log_q)
    return terms.sum(axis=1)


def test_the_plain_computation_is_scipys_relative_entropy() -> None:
    reference, artifact = PAIRS["one tile"]
    p, q = (np.exp(log_softmax(x.astype(np.float64), axis=1)) for x in (reference, artifact))

    assert plain_kl(reference, artifact) == pytest.approx(rel_entr(p, q).sum(axis=1), rel=1e-9)


@by_pair
def test_divergence_is_the_relative_entropy(pair: Pair, team: ThreadTeam) -> None:
    kl = kl_of(*pair, team)

    assert kl.shape == (ROWS,)
    assert kl.dtype == np.float64
    assert kl == pytest.approx(plain_kl(*pair), rel=1e-5, abs=1e-6)
    assert kl.min() > -1e-6


@by_pair
def test_a_model_diverges_from_itself_by_nothing(pair: Pair, team: ThreadTeam) -> None:
    for logits in pair:
        assert np.abs(kl_of(logits, logits, team)).max() < 1e-6


@by_pair
def test_an_anchor_that_is_not_exact_changes_nothing(pair: Pair, team: ThreadTeam) -> None:
    reference, artifact = pair
    anchors, normalizers = (reductions.log_normalizers(windows(side), team) for side in pair)

    def tiles(start: int, stop: int) -> np.ndarray:
        return reference[:, start:stop].copy()

    # float16 moves what is stored by about so much from the anchor that was taken before
    anchors = anchors.reshape(-1) + 0.1
    moved = reductions.divergence(tiles, anchors, windows(artifact), normalizers, team)

    assert moved == pytest.approx(kl_of(reference, artifact, team), rel=1e-5, abs=1e-6)


@by_pair
def test_normalizers_are_logsumexp(pair: Pair, team: ThreadTeam) -> None:
    for logits in pair:
        found = reductions.log_normalizers(windows(logits), team)
        assert found.shape == (2, ROWS // 2)
        assert found.dtype == np.float64
        wanted = logsumexp(windows(logits).astype(np.float64), axis=2)
        assert found == pytest.approx(wanted, rel=1e-6, abs=2e-7)


@by_pair
def test_likelihood_is_minus_log_softmax(pair: Pair, team: ThreadTeam) -> None:
    for logits in pair:
        targets = RNG.integers(0, logits.shape[1], ROWS)
        targets[0] = logits[0].argmin()
        wanted = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(ROWS), targets]

        normalizers = reductions.log_normalizers(windows(logits), team)
        nll = reductions.negative_log_likelihood(
            windows(logits), normalizers, targets.reshape(2, -1)
        )

        assert nll.dtype == np.float64
        assert nll.reshape(-1) == pytest.approx(wanted, rel=1e-6, abs=2e-6)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_never_looks_finite(bad: float, team: ThreadTeam) -> None:
    logits = normal(5000)
    logits[3, 4321] = bad

    normalizers = reductions.log_normalizers(windows(logits), team).reshape(-1)

    assert not np.isfinite(normalizers[3])
    assert np.isfinite(np.delete(normalizers, 3)).all()


def test_rows_of_a_larger_array_are_reduced_where_they_lie(team: ThreadTeam) -> None:
    reference, artifact = PAIRS["tiles and a rest"]
    every = slice(0, None, 3)
    mine = windows(artifact)[:, every]
    theirs = np.concatenate(windows(reference)[:, every])

    found = reductions.divergence(
        lambda start, stop: theirs[:, start:stop].copy(),
        reductions.log_normalizers(theirs[None], team)[0],
        mine,
        reductions.log_normalizers(mine, team),
        team,
    )

    wanted = kl_of(reference, artifact, team).reshape(2, -1)[:, every].reshape(-1)
    assert found.tolist() == wanted.tolist()
    assert artifact.tobytes() == PAIRS["tiles and a rest"][1].tobytes()


def test_a_level_that_is_left_out_changes_nothing(team: ThreadTeam) -> None:
    """The same pair, near zero and far from it, takes the two ways of computing."""
    reference, artifact = PAIRS["tiles and a rest"]
    near_zero = kl_of(reference, artifact, team)

    for offset in (0.2, 0.3, 64.0, -64.0):
        moved = kl_of(reference, artifact + np.float32(offset), team)
        assert moved == pytest.approx(near_zero, rel=1e-4, abs=2e-6)
    for offset in (64.0, -64.0):
        moved = kl_of(reference + np.float32(offset), artifact + np.float32(offset), team)
        assert moved == pytest.approx(near_zero, rel=1e-4, abs=2e-6)
