"""What parent and child send each other, beside what `qgate.runtimes.base` has: data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from qgate.runtimes.base import Buffers, Prompt

BATCH_SIZE = 16
"""Prompts that are answered at a time."""
NO_END = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts that are answered, so many at a time."""

    prompts: tuple[Prompt, ...]
    batch_size: int = BATCH_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one batch was answered, in the order of its prompts."""

    ids: tuple[np.ndarray, ...]
    """Generated tokens, int32, without the one that ended the answer."""
    ends: np.ndarray
    """The token that ended each, int32; `NO_END` where the answer reached its length or a stop."""
    texts: tuple[str, ...]
    margins_nats: tuple[np.ndarray, ...]
    """How much more likely each token was than the next best, that of the end too; float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts that become token ids."""

    texts: tuple[str, ...]
    begins: bool
    """Whether each begins a sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """One text as token ids."""

    ids: np.ndarray
    """Shape (n,), int32."""
    piece_bytes: np.ndarray
    """UTF-8 length of each piece, shape (n,), int32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanScores:
    """Of the scored tokens of each span."""

    nll_nats: tuple[np.ndarray, ...]
    """float64."""
    is_top: tuple[np.ndarray, ...]
    """Whether greedy decoding would have chosen that token, bool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What came of windows: of every scored token, and of the positions that are kept.

    None: not asked for, or not given in the way that the model is scored.
    """

    nll_nats: np.ndarray | None = None
    """Of each token, shape (windows x scored,), float64. None: a reference that was to be kept
    whole could not be; `why_partition` has the reason."""
    kl_nats: np.ndarray | None = None
    """Of each kept position, shape (windows x kept,), float64; so are those below."""
    same_top: np.ndarray | None = None
    covered_mass: np.ndarray | None = None
    """Where not the whole vocabulary was compared."""
    anchors: np.ndarray | None = None
    """What the reference is kept with, as the two below."""
    tops: np.ndarray | None = None
    top_logprobs: np.ndarray | None = None
    digests: tuple[str, ...] = ()
    """Of the windows that were scored."""
    total_s: float = 0.0
    decode_s: float = 0.0
    why_partition: str = ""
    """Why not the whole vocabulary was compared; empty where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRequest:
    """A prompt, and how many tokens are to follow it."""

    ids: np.ndarray
    """Shape (n,), int32."""
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextMemory:
    """What a full context takes, in bytes: by the library's account, and as the system sees it."""

    buffers: Buffers
    pss_before_bytes: int
    pss_bytes: int
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """The same request so many times."""

    ids: np.ndarray
    """Shape (n,), int32."""
    tokens: int
    times: int
