"""Measures the reference: its likelihoods, and its full distributions in a form that is small.

What is kept is checked where it is made: the divergence of the reference, as decoded, from what can
be read back of it. An encoding that does not give the reference back is not used. Where the runtime
tells no logits, it is the divergence of a second scoring from the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.reference.output_matrix import find_output_matrix
from qgate.runtimes.verbs import SCORE
from qgate.runtimes.worker.prompt_logprobs import TOP
from qgate.runtimes.worker.reference_logits import Encoding, Stored
from qgate.runtimes.worker.scoring import ScoreRequest

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.records import Artifact
    from qgate.reference.windows import Windows
    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.runtimes.messages import Scored
    from qgate.runtimes.worker.reference_logits import MatrixPlace
    from qgate.thresholds import TextSettings

MIN_POSITIONS = 4000
"""So many positions are compared over the whole vocabulary whatever it costs, if there are."""
_AFFORDABLE = 0.05
"""Rebuilding the reference's logits may cost this share of decoding, roughly."""
MAX_SELF_KL_NATS = 1e-5
"""An encoding that cannot give the reference back this exactly is not used."""
MAX_SELF_KL_TOP_K_NATS = 1e-4
"""Of a reference that is scored a second time, in another order, by a runtime that tells no logits:
other batches, other rounding. On a CPU vLLM gives the same both times and 7e-8 is what the
arithmetic leaves; bfloat16 itself is 1.2e-4 away from float32."""
_CHECKED_EVERY = 4
"""Positions that count: rounding to 16 bits is the same kind of error at all of them. That every
number fits into 16 bits is looked at everywhere."""
MAX_SHARE_OF_BASE_FILE = 0.1
"""Of the size of llama.cpp's base file for the same windows. Fewer positions are kept to hold it,
as long as enough are left for the tail's percentile."""
_OTHER_BYTES = 29
"""A scored token's share of ids, clusters, likelihoods and what else is kept of each."""
_TOP_K_PAIR_BYTES = 8
"""A token and its log-probability."""


def cost_stride(facts: ModelFacts) -> int:
    """Every how many scored positions whole distributions can be compared at little cost.

    A position costs about `width x n_vocab` multiplications to rebuild, decoding costs about
    `2 n_params` for each scored token (its context half is decoded too). Small models with large
    vocabularies would spend more time on rebuilding than on decoding.
    """
    if facts.width is None or facts.n_params is None:
        return 1
    cost = facts.width * facts.n_vocab / (2 * facts.n_params)
    return max(1, math.ceil(cost / _AFFORDABLE))


def subsample_stride(stride: int, scored: int) -> int:
    """The stride that is used: never so large that fewer than `MIN_POSITIONS` are compared."""
    return max(1, min(stride, scored // MIN_POSITIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The reference in its child, and what it is going to be scored on."""

    host: Host
    facts: ModelFacts
    windows: Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The reference, scored, and where and how its distributions are kept."""

    scored: Scored
    stored: Stored
    self_kl_nats: float
    """Mean divergence of the reference from what is kept of it."""


def keep_reference(
    directory: Path, artifact: Artifact, settings: TextSettings, loaded: Loaded
) -> Kept:
    """Score the reference and keep its distributions in the first encoding that is exact.

    Args:
        directory: where `kept.npy` is written.
        artifact: the reference.
        settings: how many positions the user wants compared.
        loaded: the child that holds it, and the windows.

    """
    host, facts, windows = loaded.host, loaded.facts, loaded.windows
    matrix = find_output_matrix(artifact, facts)
    self_kl, most = 0.0, 0.0
    for encoding in _encodings(facts, matrix):
        stored = Stored(
            encoding=encoding,
            array=str(directory / "kept.npy"),
            stride=_stride(settings, windows, facts, encoding),
            matrix=matrix if encoding == "hidden" else None,
        )
        checked = _checked(windows, stored.stride)
        request = ScoreRequest(
            windows=windows.ids,
            first=windows.first,
            stored=stored,
            compared=checked,
        )
        scored = SCORE.ask(host, request)
        if scored.kl_nats is None:  # its whole rows are not believed
            continue
        self_kl = _self_kl_nats(scored.kl_nats, checked)
        most = MAX_SELF_KL_TOP_K_NATS if encoding == "top_k" else MAX_SELF_KL_NATS
        if self_kl < most:
            return Kept(scored=scored, stored=stored, self_kl_nats=self_kl)
    raise MeasurementError(
        f"{artifact.id}: the reference cannot be stored exactly: got a KL of {self_kl:.1e} against"
        f" itself; expected below {most:g}"
    )


def _self_kl_nats(kl_nats: np.ndarray, checked: np.ndarray) -> float:
    """Mean divergence at the checked positions; infinite where anything is lost anywhere."""
    if len(kl_nats) != len(checked):
        raise MeasurementError(
            f"lost samples: got {len(kl_nats)} divergences; expected {len(checked)}"
        )
    if not np.isfinite(kl_nats).all():
        return math.inf
    return float(np.abs(kl_nats[checked]).mean())


def _checked(windows: Windows, stride: int) -> np.ndarray:
    """Of every `stride`-th token: whether what is kept there is read back and compared, bool."""
    counts = windows.kept(stride)
    checked = np.zeros(len(counts), dtype=bool)
    checked[np.flatnonzero(counts)[::_CHECKED_EVERY]] = True
    return checked


def _encodings(facts: ModelFacts, matrix: MatrixPlace | None) -> tuple[Encoding, ...]:
    """What is tried, in this order."""
    if facts.scoring not in ("logits", "whole"):
        return ("top_k",)
    whole: tuple[Encoding, ...] = ("rows",) if matrix is None else ("hidden", "rows")
    return whole if facts.scoring == "logits" else (*whole, "top_k")


def _stride(settings: TextSettings, windows: Windows, facts: ModelFacts, encoding: Encoding) -> int:
    """Every how many scored positions the reference's distribution is kept."""
    if settings.positions == "all":
        return 1
    row_bytes = {
        "hidden": 2 * (facts.width or facts.n_vocab),
        "rows": 2 * facts.n_vocab,
        "top_k": _TOP_K_PAIR_BYTES * min(TOP, facts.n_vocab),
    }[encoding]
    base_row_bytes = 2 * facts.n_vocab + 8
    room = MAX_SHARE_OF_BASE_FILE * base_row_bytes - _OTHER_BYTES
    by_storage = math.ceil(row_bytes / max(room, 1.0))
    by_cost = 1 if encoding == "top_k" else cost_stride(facts)
    return subsample_stride(max(by_storage, by_cost), int(windows.scored.sum()))
