"""What a runtime has to do, and nothing more.

An adapter loads a model, hands out logits for given tokens, samples, and says what it is. It
translates its library's exceptions at the door and never computes a metric: the reductions over
the vocabulary are in `qgate.runtimes.reductions`, the loop around them in `qgate.runtimes.worker`.
All of this runs in the child process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from qgate.records import RuntimeFacts

Progress = Callable[[str, int, int], None]
"""progress(what, done, total)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """How a model is to be loaded."""

    path: str
    window_tokens: int
    """The longest sequence that will be scored or sampled."""
    sequences: int = 1
    """How many sequences are sampled side by side."""
    threads: int | None = None
    """None: what the machine offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the runtime says of the model it loaded."""

    n_vocab: int
    width: int
    """Size of the final hidden state that the output matrix is applied to."""
    n_params: int
    context_length: int
    """Tokens, as trained."""
    bos: int | None
    adds_bos: bool
    """Whether text begins with `bos` by the tokenizer's own rule."""
    first_token: int
    """What a text generated from nothing begins with: `bos`, else the end-of-text token."""
    weights_bytes: int
    load_s: float

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How text is sampled from the model itself: ancestral, temperature 1, nothing cut off."""

    sequences: int
    tokens: int
    """Length of each sequence, its first token included."""
    seed: int


class Runtime(Protocol):
    """One library that can hold one model. Not thread-safe; one call at a time."""

    def describe(self) -> RuntimeFacts:
        """What is installed, without a model.

        Raises:
            RuntimeUnavailable: the library is not there; the message names the install command.
        """

    def load(self, settings: LoadSettings) -> ModelFacts:
        """Load the model.

        Raises:
            ArtifactError: the library refuses the file; the message carries its own reason.
        """

    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of a whole text, special tokens added as the tokenizer says, none parsed.

        Returns:
            ids: shape (n,), int32. piece_bytes: shape (n,), int32, UTF-8 length of each piece.
        """

    def logits(self, ids: np.ndarray, first: int) -> np.ndarray:
        """Logits after the tokens at positions `first` and later.

        Args:
            ids: shape (n,), int32, one sequence from its beginning.
            first: first position wanted, 0 <= first < n.

        Returns:
            Shape (n - first, n_vocab), float32; a view that the next call overwrites.
        """

    @property
    def windows_per_call(self) -> int:
        """How many sequences `logits_of_windows` takes at once; known after `load`."""

    def logits_of_windows(self, windows: np.ndarray, first: int) -> np.ndarray:
        """As `logits`, for several sequences at once: as fast as this runtime can.

        Args:
            windows: shape (count, n), int32, count <= `windows_per_call`.
            first: first position wanted, the same in each.

        Returns:
            Shape (count, n - first, n_vocab), float32; a view that the next call overwrites.
        """

    def hidden(self, ids: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """As `logits`, and the final hidden states, shape (n - first, width), float32."""

    def sample(self, sampling: Sampling, progress: Progress) -> np.ndarray:
        """Text of the model's own: shape (sequences, tokens), int32."""

    def close(self) -> None:
        """Free the model; the object is not used again."""
