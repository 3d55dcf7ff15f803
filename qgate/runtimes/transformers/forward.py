"""A causal language model in two parts: tokens to final hidden states, and these to logits.

So that only the wanted rows go through the output matrix, and only so many at a time: logits of a
whole window would take n_ctx x n_vocab floats. The second part is the model's own forward, with the
first one's result handed to it, so that logits are scaled or soft-capped as the model does it.
That the two parts make the whole is tried out on every model that is loaded.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import ArtifactError, MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PART_BYTES = 32 << 20
"""Of logits that are held at a time; no larger, for the C library gives larger blocks back to the
system each time, and touching fresh pages costs more than the numbers."""
_PROBE_TOKENS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a model made of tokens."""

    states: Any
    """Final hidden states, a tensor of shape (sequences, tokens, width)."""
    cache: Any
    """Keys and values of all tokens so far; None where none were asked for."""


class Body:
    """A loaded model.

    Raises:
        ArtifactError: the model's architecture does not fall into the two parts.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - the library's
        import torch

        self._torch, self._model = torch, model
        self._device = model.get_input_embeddings().weight.device
        with torch.inference_mode():
            self._part, self._kind = self._find_part()
            states = self.read(np.zeros((1, 1), dtype=np.int64)).states
            self.width: int = states.shape[-1]
            self.n_vocab: int = self.logits(states[0]).shape[-1]
            self.shares_cache = self._can_share()
        self.rows_per_part = max(1, _PART_BYTES // (4 * self.n_vocab))

    def read(self, ids: np.ndarray, cache: Any = None, *, keep: bool = False, **place: Any) -> Read:  # noqa: ANN401
        """Run tokens through the model, behind those in the cache.

        Args:
            ids: shape (sequences, tokens).
            cache: what an earlier `Read` came with; changed by this one.
            keep: whether a cache is wanted.
            place: attention_mask and position_ids, where the model's own are not right.
        """
        tokens = self._torch.from_numpy(ids.astype(np.int64)).to(self._device)
        place = {name: self.tensor(value) for name, value in place.items() if value is not None}
        with self._torch.inference_mode():
            found = self._part(input_ids=tokens, past_key_values=cache, use_cache=keep, **place)
        if keep and found.get("past_key_values") is None:
            raise MeasurementError(
                f"transformers: {type(self._model).__name__} keeps no cache of keys and values"
                " that qgate knows how to go on from"
            )
        return Read(states=found.last_hidden_state, cache=found.get("past_key_values"))

    def join(self, states: Sequence[Any]) -> Any:  # noqa: ANN401 - the library's
        """Rows of several tensors as those of one, shape (rows, width)."""
        return self._torch.cat(list(states))

    def tensor(self, values: np.ndarray) -> Any:  # noqa: ANN401 - the library's
        return self._torch.from_numpy(values).to(self._device)

    def logits(self, states: Any) -> np.ndarray:  # noqa: ANN401 - a tensor
        """Logits after final hidden states: shape (rows, width) -> (rows, n_vocab), float32."""
        known = self._kind(last_hidden_state=states[None])
        nothing = self._torch.zeros((1, 1), dtype=self._torch.int64, device=self._device)
        with self._torch.inference_mode(), _answering(self._part, known):
            found = self._model(input_ids=nothing, use_cache=False).logits[0]
        rows: np.ndarray = found.float().cpu().numpy()
        return rows

    def parts(self, states: Any, most: int | None = None) -> Iterator[tuple[np.ndarray, Any]]:  # noqa: ANN401
        """Logits of states, shape (rows, width), a few rows at a time; and these states."""
        step = most or self.rows_per_part
        for start in range(0, len(states), step):
            part = states[start : start + step]
            yield self.logits(part), part

    def _can_share(self) -> bool:
        """Whether several sequences can go on from the cache of one."""
        try:
            cache = self.read(np.zeros((1, 1), dtype=np.int64), keep=True).cache
            cache.batch_select_indices(self.tensor(np.zeros(2, dtype=np.int64)))
        except (MeasurementError, AttributeError, NotImplementedError):
            return False
        return True

    def _find_part(self) -> tuple[Any, Any]:
        model, torch = self._model, self._torch
        decoder = model.get_decoder() if hasattr(model, "get_decoder") else model.base_model
        ids = torch.arange(_PROBE_TOKENS, device=self._device)[None]
        whole = model(input_ids=ids, use_cache=False).logits
        for part in (decoder, model.base_model):
            if part is model:
                continue
            found = part(input_ids=ids, use_cache=False)
            known = type(found)(last_hidden_state=found[0])
            with _answering(part, known):
                again = model(input_ids=torch.zeros_like(ids), use_cache=False).logits
            if again.shape == whole.shape and torch.allclose(
                again, whole, rtol=1e-3, atol=1e-3, equal_nan=True
            ):
                return part, type(found)
        raise ArtifactError(
            f"transformers: {type(model).__name__} does not compute its logits from the final"
            " hidden states of one part: got other logits from them; expected the same"
        )


@contextlib.contextmanager
def _answering(part: Any, answer: Any) -> Iterator[None]:  # noqa: ANN401 - a module, its output
    """The part of a model gives this answer instead of computing one."""
    before = part.__dict__.get("forward")
    part.forward = lambda *_, **__: answer
    try:
        yield
    finally:
        if before is None:
            del part.forward
        else:
            part.forward = before
