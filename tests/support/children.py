"""What most tests ask of a child."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.runtimes.base import LoadSettings, Span
from qgate.runtimes.verbs import LOAD, SCORE, SCORE_SPANS
from qgate.runtimes.worker.scoring import ScoreRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.runtimes.messages import Scored, SpanScores


def load(
    host: Host, path: Path, window_tokens: int = 64, threads: int | None = 1, **settings: Any
) -> ModelFacts:
    wanted = LoadSettings(path=str(path), window_tokens=window_tokens, threads=threads, **settings)
    return LOAD.ask(host, wanted)


def score(host: Host, windows: np.ndarray, **kept: Any) -> Scored:
    """Of the second half of each window."""
    request = ScoreRequest(windows=windows, first=windows.shape[1] // 2, **kept)
    return SCORE.ask(host, request)


def score_whole(host: Host, sequences: Sequence[np.ndarray], first: int = 0) -> SpanScores:
    return SCORE_SPANS.ask(host, [Span(ids=ids, first=first) for ids in sequences])
