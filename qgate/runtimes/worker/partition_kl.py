"""Divergence over a partition of the vocabulary: what can be said of two models by top k tokens.

The cells are the reference's k likeliest tokens, one each, and all other tokens as one. With P and
Q the cells' masses under reference and artifact

    KL(P || Q) = sum over cells P (log P - log Q)  <=  KL(reference || artifact)

A partition never makes a divergence larger: the data-processing inequality (Cover and Thomas,
Elements of Information Theory, 2nd ed. 2006, theorem 2.7.1, the log sum inequality, and section
2.8). What is lost is what happens within the last cell, so the bound is tight where the k tokens
carry nearly all of the reference's mass; that mass goes with it.

A token of which the artifact's log-probability is not told joins the last cell: still a partition,
still a lower bound.
"""

from __future__ import annotations

import numpy as np

_LEAST_REST = 1e-6
"""What float32 leaves of the mass of "all others": nothing smaller can be told from zero. Taking
more for the artifact's than there is lowers the divergence."""


def partition_divergence(
    reference: np.ndarray, artifact: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """KL over the partition at each position, and the reference's mass in cells of one token.

    Args:
        reference: log-probabilities of the reference's k likeliest tokens, shape (positions, k).
        artifact: the artifact's of the same tokens; NaN where it is not told.

    Returns:
        kl_nats: shape (positions,), float64; infinite where the artifact rules out a token.
        covered_mass: shape (positions,), float64, 0 to 1.
    """
    is_told = ~np.isnan(artifact)
    log_p, log_q = reference.astype(np.float64), artifact.astype(np.float64)
    p = np.where(is_told, np.exp(log_p), 0.0)
    q = np.where(is_told, np.exp(log_q), 0.0)
    covered: np.ndarray = p.sum(axis=1)
    with np.errstate(invalid="ignore"):  # -inf less -inf, where both rule a token out
        cells = np.where(p > 0.0, p * (log_p - log_q), 0.0).sum(axis=1)
    rest_p = np.maximum(1.0 - covered, 0.0)
    rest_q = np.maximum(1.0 - q.sum(axis=1), _LEAST_REST)
    rest = rest_p * (np.log(np.where(rest_p > 0.0, rest_p, 1.0)) - np.log(rest_q))
    return cells + rest, np.minimum(covered, 1.0)


def look_up(ids: np.ndarray, found_ids: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The log-probabilities of certain tokens in lists of others.

    Args:
        ids: what is looked for, shape (positions, k).
        found_ids: the tokens of each list, shape (positions, m), none twice.
        found: their log-probabilities, shape (positions, m).

    Returns:
        Shape (positions, k), float64; NaN where the list does not have the token.
    """
    order = np.argsort(found_ids, axis=1)
    result = np.full(ids.shape, np.nan)
    for row in range(len(ids)):
        known, values = found_ids[row][order[row]], found[row][order[row]]
        place = np.minimum(np.searchsorted(known, ids[row]), len(known) - 1)
        is_there = known[place] == ids[row]
        result[row, is_there] = values[place[is_there]]
    return result
