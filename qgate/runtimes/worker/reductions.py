"""Reductions over the vocabulary: from logits to a few numbers a token. Runs in the child.

    nll        = logsumexp(z) - z[target]                                   nats
    KL(p || q) = sum_v p(v) (log p(v) - log q(v)),  p the reference, q the artifact

The reference's logits come in tiles of the vocabulary (`reference_logits`), so that neither
`positions x vocabulary` of the reference nor a second copy of the artifact's logits ever exists.
With z_p and z_q the logits, any a near logsumexp(z_p) and b near logsumexp(z_q), w = exp(z_p - a):

    KL = sum w ((z_p - a) - (z_q - b)) / sum w - log sum w + logsumexp(z_q) - b

Differences of log-probabilities are taken before they are weighted: for equal models they are near
zero, whatever constant one side's logits carry, and so is what float32 can lose. Where a and b are
near zero and near each other, as most models have it, they are left out (`_LEVEL`): each is a pass
over all numbers. Agrees with `llama-perplexity --kl-divergence` up to the 16-bit rounding of that
tool's base file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qgate.runtimes.worker.threads import ThreadTeam

NUMBERS_PER_BLOCK = 1 << 17
"""Logits whose exponentials one thread takes at once: half a megabyte stays in cache."""
COLUMNS_PER_TILE = 512
"""Vocabulary entries of one tile: its rows of the output matrix, weights and gaps stay in cache."""
_LEVEL = 60.0
"""Logsumexp this far from zero or less, and float32 holds the exponentials of the logits as they
are; those below its range weigh less than e-27 of the whole."""
_NEAR = 0.25
"""No more nats between the levels of two models, and a difference of logits is as good as one of
log-probabilities: what float32 loses of it stays near 1e-7."""


def log_normalizers(logits: np.ndarray, team: ThreadTeam) -> np.ndarray:
    """Logsumexp of each row.

    Args:
        logits: shape (windows, rows, n_vocab), float32.
        team: threads to spread the rows over; numpy releases the interpreter lock.

    Returns:
        Shape (windows, rows), float64.
    """
    rows = max(1, NUMBERS_PER_BLOCK // logits.shape[2])
    blocks = [
        window[start : start + rows] for window in logits for start in range(0, len(window), rows)
    ]
    return np.concatenate(team.map(_logsumexp, blocks)).reshape(logits.shape[:2])


def _logsumexp(block: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        plain: np.ndarray = np.log(np.exp(block).sum(axis=1), dtype=np.float64)
    return plain if (np.abs(plain) < _LEVEL).all() else _shifted_logsumexp(block)


def _shifted_logsumexp(block: np.ndarray) -> np.ndarray:
    top = block.max(axis=1)
    shifted = block - top[:, None]
    np.exp(shifted, out=shifted)
    total: np.ndarray = top + np.log(shifted.sum(axis=1), dtype=np.float64)
    return total


def negative_log_likelihood(
    logits: np.ndarray, normalizers: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """-log q(target) of each row, nats, float64, the shape of `targets` and `normalizers`."""
    chosen = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nll: np.ndarray = normalizers - chosen.astype(np.float64)
    return nll


ReferenceTile = Callable[[int, int], np.ndarray]
"""(start, stop) -> the reference's logits of that slice of the vocabulary, shape
(positions, stop - start), float32, the caller's own copy."""


def divergence(
    reference: ReferenceTile,
    anchors: np.ndarray,
    logits: np.ndarray,
    normalizers: np.ndarray,
    team: ThreadTeam,
) -> np.ndarray:
    """KL(reference || artifact) of each row, exact over the whole vocabulary.

    Args:
        reference: the reference's logits at the same positions.
        anchors: a number near logsumexp of each of its rows, shape (positions,); no exponential
            overflows with it, and the result does not depend on it.
        logits: the artifact's, shape (windows, rows, n_vocab), float32; positions are windows x
            rows.
        normalizers: logsumexp of `logits`, shape (windows, rows).
        team: threads to spread the tiles over.

    Returns:
        Shape (positions,), float64, nats; never below zero but for rounding.
    """
    n_vocab = logits.shape[-1]
    shift = anchors.reshape(normalizers.shape).astype(np.float32)[..., None]
    level = normalizers.astype(np.float32)[..., None]
    is_plain = bool((np.abs(shift) < _LEVEL).all() and (np.abs(shift - level) < _NEAR).all())

    def tile(start: int) -> tuple[np.ndarray, np.ndarray]:
        stop = min(start + COLUMNS_PER_TILE, n_vocab)
        weights = reference(start, stop).reshape(*normalizers.shape, stop - start)
        if is_plain:
            gaps = weights - logits[..., start:stop]
        else:
            weights -= shift
            gaps = logits[..., start:stop] - level
            np.subtract(weights, gaps, out=gaps)
        np.exp(weights, out=weights)
        return weights.sum(axis=-1), np.einsum("...v,...v->...", weights, gaps)

    parts = team.map(tile, range(0, n_vocab, COLUMNS_PER_TILE))
    mass = np.sum([part[0] for part in parts], axis=0, dtype=np.float64)
    excess = np.sum([part[1] for part in parts], axis=0, dtype=np.float64)
    rest = normalizers if is_plain else normalizers - level[..., 0]
    kl: np.ndarray = (excess / mass - np.log(mass) + rest).reshape(-1)
    return kl
