"""Reductions over the vocabulary: from logits to a few numbers a token. Runs in the child.

    nll        = logsumexp(z) - z[target]                                   nats
    KL(p || q) = sum_v p(v) (log p(v) - log q(v)),  p the original, q the artifact

The original's logits come in tiles of the vocabulary (`qgate.runtimes.original`), so that neither
`positions x vocabulary` of the original nor a second copy of the artifact's logits ever exists.
With z_p and z_q the logits:

    KL = E_p[z_p - z_q] - logsumexp(z_p) + logsumexp(z_q)

Agrees with `llama-perplexity --kl-divergence` up to the 16-bit rounding of that tool's base file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

ROWS_PER_BLOCK = 16
"""Rows of logits whose exponentials are taken at once: stays in cache at 128k tokens."""
COLUMNS_PER_TILE = 2048
"""Vocabulary entries of one tile of the original's logits."""


def log_normalizers(logits: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
    """logsumexp of each row.

    Args:
        logits: shape (rows, n_vocab), float32.
        pool: threads to spread the rows over; numpy releases the interpreter lock.

    Returns:
        Shape (rows,), float64.
    """
    starts = range(0, len(logits), ROWS_PER_BLOCK)
    blocks = pool.map(lambda start: _logsumexp(logits[start : start + ROWS_PER_BLOCK]), starts)
    return np.concatenate(list(blocks))


def _logsumexp(block: np.ndarray) -> np.ndarray:
    top = block.max(axis=1)
    shifted = block - top[:, None]
    np.exp(shifted, out=shifted)
    total: np.ndarray = top + np.log(shifted.sum(axis=1, dtype=np.float64))
    return total


def negative_log_likelihood(
    logits: np.ndarray, normalizers: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """-log q(target) of each row, nats, shape (rows,), float64."""
    chosen = logits[np.arange(len(targets)), targets].astype(np.float64)
    nll: np.ndarray = normalizers - chosen
    return nll


@dataclass(frozen=True, slots=True)
class Divergence:
    """What the original and the artifact say about the same positions."""

    kl_nats: np.ndarray
    """KL(original || artifact), shape (rows,), float64; never below zero but for rounding."""
    same_top: np.ndarray
    """Whether both rank the same token first, shape (rows,), bool."""


@dataclass(frozen=True, slots=True)
class _Tile:
    """What one slice of the vocabulary adds to each row."""

    top: np.ndarray
    """Largest z_p in the tile."""
    index: np.ndarray
    """Which token that is."""
    mass: np.ndarray
    """sum exp(z_p - top)."""
    excess: np.ndarray
    """sum exp(z_p - top) (z_p - z_q)."""


OriginalTile = Callable[[int, int], np.ndarray]
"""(start, stop) -> the original's logits of that slice of the vocabulary, (rows, stop - start)."""


def divergence(
    original: OriginalTile,
    logits: np.ndarray,
    normalizers: np.ndarray,
    pool: ThreadPoolExecutor,
) -> Divergence:
    """KL and same top token of each row, exact over the whole vocabulary.

    Args:
        original: the original's logits at the same positions, up to a constant per row; float32.
        logits: the artifact's, shape (rows, n_vocab), float32.
        normalizers: logsumexp of `logits`, shape (rows,).
        pool: threads to spread the tiles over.
    """
    n_vocab = logits.shape[1]

    def tile(start: int) -> _Tile:
        stop = min(start + COLUMNS_PER_TILE, n_vocab)
        return _tile(original(start, stop), logits[:, start:stop], start)

    top, index, mass, excess = _merge(pool.map(tile, range(0, n_vocab, COLUMNS_PER_TILE)))
    kl = excess / mass - (top + np.log(mass)) + normalizers
    return Divergence(kl_nats=kl, same_top=index == logits.argmax(axis=1))


def _tile(original: np.ndarray, artifact: np.ndarray, start: int) -> _Tile:
    """Overwrites `original`, which is this tile's own copy."""
    index = original.argmax(axis=1)
    top = original[np.arange(len(index)), index]
    gap = original - artifact
    original -= top[:, None]
    np.exp(original, out=original)
    mass = original.sum(axis=1, dtype=np.float64)
    excess = np.einsum("rv,rv->r", original, gap).astype(np.float64)
    return _Tile(top=top.astype(np.float64), index=index + start, mass=mass, excess=excess)


def _merge(tiles: Iterable[_Tile]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    parts = list(tiles)
    tops = np.stack([part.top for part in parts])
    best = tops.argmax(axis=0)
    rows = np.arange(tops.shape[1])
    top = tops[best, rows]
    index = np.stack([part.index for part in parts])[best, rows]
    scale = np.exp(tops - top)
    mass = (np.stack([part.mass for part in parts]) * scale).sum(axis=0)
    excess = (np.stack([part.excess for part in parts]) * scale).sum(axis=0)
    return top, index, mass, excess
