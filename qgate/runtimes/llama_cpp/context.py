"""A llama_context with the batch that fills it: tokens in, rows of logits out."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import ArtifactError, MeasurementError
from qgate.runtimes.llama_cpp.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.llama_cpp.log import LlamaLog

_AUTO = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a context is made for."""

    tokens: int
    """Cells of the KV cache: of each sequence, or of all together where it is `shared`."""
    sequences: int
    per_call: int
    """Tokens that one call decodes at most."""
    is_shared: bool = False
    """One cache for sequences of any lengths, instead of an equal share for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What every context of a loaded model needs."""

    lib: Any
    model: Any
    log: LlamaLog
    threads: int
    n_vocab: int
    width: int


class Context:
    """One llama_context; not thread-safe."""

    def __init__(self, library: Library, shape: Shape) -> None:
        self.shape, self._library = shape, library
        lib = library.lib
        parameters = lib.llama_context_default_params()
        share = 1 if shape.is_shared else shape.sequences
        parameters.n_ctx = shape.tokens * share
        parameters.n_batch = parameters.n_ubatch = shape.per_call
        parameters.n_seq_max = shape.sequences
        parameters.kv_unified = shape.is_shared
        parameters.flash_attn_type = _AUTO
        parameters.n_threads = parameters.n_threads_batch = library.threads
        library.log.clear()
        self._context = lib.llama_init_from_model(library.model, parameters)
        if not self._context:
            raise ArtifactError(
                f"llama.cpp cannot make a context of {parameters.n_ctx} tokens:"
                f" {library.log.reason()}"
            )
        self.batch = Batch(lib, shape.per_call)

    def clear(self) -> None:
        """Forget every token."""
        lib = self._library.lib
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)

    def copy_sequence(self, source: int, target: int) -> None:
        """Let a sequence begin with all that another holds."""
        lib = self._library.lib
        memory = lib.llama_get_memory(self._context)
        lib.llama_memory_seq_cp(memory, source, target, -1, -1)

    def decode(self, batch: Any) -> None:  # noqa: ANN401 - a C structure
        """Run the model over a batch.

        Raises:
            MeasurementError: llama.cpp refuses it, with llama.cpp's own reason.
        """
        self._library.log.clear()
        code = self._library.lib.llama_decode(self._context, batch)
        if code != 0:
            raise MeasurementError(f"llama_decode returned {code}: {self._library.log.reason()}")

    def rows_of(
        self, tokens: np.ndarray, positions: np.ndarray, owners: np.ndarray, *, wanted: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Decode tokens as `Batch.fill` takes them, in as many calls as they need.

        Yields:
            Logits of the wanted ones, shape (rows, n_vocab), each a view until the next step.
        """
        for start in range(0, len(tokens), self.shape.per_call):
            part = slice(start, start + self.shape.per_call)
            batch = self.batch.fill(
                tokens[part], positions[part], owners[part], wanted=wanted[part]
            )
            self.decode(batch)
            if rows := int(wanted[part].sum()):
                yield self.logits(rows)

    def rows_after(self, prompts: Sequence[np.ndarray], owners: np.ndarray) -> Iterator[np.ndarray]:
        """Decode prompts one after the other, each in its sequence; yields the row after each."""
        sizes = [len(prompt) for prompt in prompts]
        tokens = np.concatenate(prompts)
        positions = np.concatenate([np.arange(size) for size in sizes])
        is_last = np.zeros(len(tokens), dtype=bool)
        is_last[np.cumsum(sizes) - 1] = True
        return self.rows_of(tokens, positions, np.repeat(owners, sizes), wanted=is_last)

    def logits(self, rows: int) -> np.ndarray:
        """Of the last batch's wanted tokens, shape (rows, n_vocab); until the next `decode`."""
        pointer = self._library.lib.llama_get_logits(self._context)
        return _view(pointer, rows, self._library.n_vocab)

    def embeddings(self, rows: int) -> np.ndarray:
        """Final hidden states, shape (rows, width), of a batch decoded with `want_embeddings`."""
        pointer = self._library.lib.llama_get_embeddings(self._context)
        return _view(pointer, rows, self._library.width)

    def want_embeddings(self, is_wanted: bool) -> None:
        self._library.lib.llama_set_embeddings(self._context, is_wanted)

    def free(self) -> None:
        self._library.lib.llama_free(self._context)
        self.batch.free()


def _view(pointer: Any, rows: int, columns: int) -> np.ndarray:  # noqa: ANN401 - a C pointer
    if not pointer:
        raise MeasurementError("llama.cpp gave no output for a decoded batch")
    # each timed token waits for this: np.ctypeslib.as_array takes twice as long
    held = (ctypes.c_float * (rows * columns)).from_address(ctypes.addressof(pointer.contents))
    return np.frombuffer(memoryview(held), dtype=np.float32).reshape(rows, columns)
