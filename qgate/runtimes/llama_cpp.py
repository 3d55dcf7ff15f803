"""llama.cpp through llama-cpp-python's low-level API.

The high-level `Llama` class computes and copies logits of every row (twice the work and
`n_ctx x n_vocab` floats on the host), swallows unknown arguments and hides the reason why a file
does not load; so this adapter speaks to the C functions. Flash attention is left to llama.cpp's
own choice, as `llama-perplexity` does.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import deque
from typing import Any

import numpy as np

from qgate.errors import ArtifactError, MeasurementError, RuntimeUnavailable
from qgate.records import RuntimeFacts
from qgate.runtimes.base import LoadSettings, ModelFacts, Progress, Sampling
from qgate.runtimes.llama_batch import Batch

_WARN_LEVEL, _ERROR_LEVEL = 3, 4
_CONTINUES = 5
_AUTO = -1
_SAME_KERNELS_TOKENS = 64
"""So many tokens of one sequence in a call, and it does not matter how many more there are."""
_TOKENS_TOGETHER = 1024
"""Windows that fit are decoded together, two at most, in one call of llama.cpp: a tenth faster than
one by one. With four, the logits that are held weigh more than the time that is saved."""
_MOST_TOGETHER = 2


class LlamaCpp:
    """One GGUF model in one context."""

    def __init__(self) -> None:
        try:
            import llama_cpp
        except (ImportError, RuntimeError, OSError) as error:
            raise RuntimeUnavailable(
                f"runtime 'llama_cpp' is not installed ({_one_line(error)})."
                ' Install it with: pip install "pytest-qgate[gguf]"'
            ) from error
        self._lib = llama_cpp
        self._log: deque[tuple[int, str]] = deque(maxlen=50)
        # the library keeps only a pointer: the callback has to live as long as the process
        self._callback = llama_cpp.llama_log_callback(self._on_log)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model: Any = None
        self._context: Any = None

    def describe(self) -> RuntimeFacts:
        lib = self._lib
        features = lib.llama_print_system_info().decode()
        gpu = bool(lib.llama_supports_gpu_offload())
        return RuntimeFacts(
            name="llama_cpp",
            version=lib.__version__,
            device="gpu" if gpu else "cpu",
            build=" ".join(features.split()),
        )

    def load(self, settings: LoadSettings) -> ModelFacts:
        lib = self._lib
        started = time.perf_counter()
        self._log.clear()
        self._threads = settings.threads or os.cpu_count() or 1
        parameters = lib.llama_model_default_params()
        parameters.check_tensors = True  # NaN and garbage in a block are refused, not served
        parameters.n_gpu_layers = 999 if lib.llama_supports_gpu_offload() else 0
        self._model = lib.llama_model_load_from_file(os.fsencode(settings.path), parameters)
        if not self._model:
            raise ArtifactError(f"llama.cpp refuses the file: {self._reason()}")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._n_vocab: int = lib.llama_vocab_n_tokens(self._vocab)
        self._width: int = lib.llama_model_n_embd(self._model)
        self._window = settings.window_tokens
        self._together = max(1, min(_TOKENS_TOGETHER // self._window, _MOST_TOGETHER))
        per_call = self._window * self._together
        self._context = self._new_context(self._window, sequences=self._together, per_call=per_call)
        self._batch = Batch(lib, per_call)
        return self._facts(time.perf_counter() - started)

    def _facts(self, load_s: float) -> ModelFacts:
        lib = self._lib
        bos = lib.llama_vocab_bos(self._vocab)
        begin = bos if bos >= 0 else lib.llama_vocab_eos(self._vocab)
        if begin < 0:
            raise ArtifactError(
                "the tokenizer has neither a begin-of-text nor an end-of-text token"
            )
        return ModelFacts(
            n_vocab=self._n_vocab,
            width=self._width,
            n_params=lib.llama_model_n_params(self._model),
            context_length=lib.llama_model_n_ctx_train(self._model),
            bos=bos if bos >= 0 else None,
            adds_bos=bool(lib.llama_vocab_get_add_bos(self._vocab)),
            first_token=begin,
            weights_bytes=lib.llama_model_size(self._model),
            load_s=load_s,
        )

    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        lib, raw = self._lib, text.encode()
        room = len(raw) + 16
        ids = np.empty(room, dtype=np.int32)
        pointer = ids.ctypes.data_as(ctypes.POINTER(lib.llama_token))
        count = lib.llama_tokenize(self._vocab, raw, len(raw), pointer, room, True, False)
        if count < 0:
            raise MeasurementError(f"llama.cpp cannot tokenize the text: got {count}")
        ids = ids[:count]
        sizes = {token: self._piece_bytes(token) for token in np.unique(ids).tolist()}
        return ids, np.array([sizes[token] for token in ids.tolist()], dtype=np.int32)

    def _piece_bytes(self, token: int) -> int:
        buffer = ctypes.create_string_buffer(512)
        size: int = self._lib.llama_token_to_piece(self._vocab, token, buffer, 512, 0, False)
        return abs(size)

    def logits(self, ids: np.ndarray, first: int) -> np.ndarray:
        self._decode_context(ids, first)
        self._decode(self._batch.fill(ids[first:], start=first, first=first))
        rows = len(ids) - first
        return self._view(self._lib.llama_get_logits(self._context), rows, self._n_vocab)

    @property
    def windows_per_call(self) -> int:
        together: int = self._together
        return together

    def logits_of_windows(self, windows: np.ndarray, first: int) -> np.ndarray:
        count, size = windows.shape
        if min(first, size - first) < _SAME_KERNELS_TOKENS:
            return np.stack([self.logits(ids, first).copy() for ids in windows])
        self._clear()
        self._decode(self._batch.fill_windows(windows, first))
        rows = count * (size - first)
        flat = self._view(self._lib.llama_get_logits(self._context), rows, self._n_vocab)
        return flat.reshape(count, size - first, self._n_vocab)

    def hidden(self, ids: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        lib = self._lib
        self._decode_context(ids, first)
        lib.llama_set_embeddings(self._context, True)
        try:
            self._decode(self._batch.fill(ids[first:], start=first, first=first))
        finally:
            lib.llama_set_embeddings(self._context, False)
        rows = len(ids) - first
        return (
            self._view(lib.llama_get_logits(self._context), rows, self._n_vocab),
            self._view(lib.llama_get_embeddings(self._context), rows, self._width),
        )

    def _decode_context(self, ids: np.ndarray, first: int) -> None:
        """Decode what comes before `first`, in a call of its own.

        `hidden` has to: with embeddings on, llama.cpp computes logits for every token of the call.
        `logits` does so too, for llama.cpp picks kernels by the tokens of a call: with windows
        below 128 tokens, one call instead of two moves logits by up to 0.3 (Q8_0), which would
        read as damage.
        """
        self._clear()
        if first:
            self._decode(self._batch.fill(ids[:first], start=0, first=first))

    def _clear(self) -> None:
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)

    def sample(self, sampling: Sampling, progress: Progress) -> np.ndarray:
        lib, count = self._lib, sampling.sequences
        context = self._new_context(sampling.tokens, sequences=count, per_call=count)
        batch = Batch(lib, count)
        out = np.empty((count, sampling.tokens), dtype=np.int32)
        out[:, 0] = self._facts(0.0).first_token
        draws = _uniform_draws(sampling)
        try:
            for position in range(sampling.tokens - 1):
                self._decode(batch.fill_step(out[:, position], position), context)
                rows = self._view(lib.llama_get_logits(context), count, self._n_vocab)
                out[:, position + 1] = _draw(rows, draws[:, position])
                if position % 16 == 0:
                    progress("generating text", position, sampling.tokens)
        finally:
            lib.llama_free(context)
            batch.free()
        return out

    def close(self) -> None:
        if self._context:
            self._lib.llama_free(self._context)
            self._batch.free()
        if self._model:
            self._lib.llama_model_free(self._model)
        self._context = self._model = None

    def _new_context(self, tokens: int, *, sequences: int, per_call: int) -> Any:  # noqa: ANN401
        lib = self._lib
        parameters = lib.llama_context_default_params()
        parameters.n_ctx = tokens * sequences
        parameters.n_batch = parameters.n_ubatch = per_call
        parameters.n_seq_max = sequences
        parameters.flash_attn_type = _AUTO
        parameters.n_threads = parameters.n_threads_batch = self._threads
        context = lib.llama_init_from_model(self._model, parameters)
        if not context:
            raise ArtifactError(
                f"llama.cpp cannot make a context of {tokens} tokens: {self._reason()}"
            )
        return context

    def _decode(self, batch: Any, context: Any = None) -> None:  # noqa: ANN401 - C structures
        self._log.clear()
        code = self._lib.llama_decode(context or self._context, batch)
        if code != 0:
            raise MeasurementError(f"llama_decode returned {code}: {self._reason()}")

    @staticmethod
    def _view(pointer: Any, rows: int, columns: int) -> np.ndarray:  # noqa: ANN401 - a C pointer
        if not pointer:
            raise MeasurementError("llama.cpp gave no output for a decoded batch")
        return np.ctypeslib.as_array(pointer, (rows, columns))

    def _on_log(self, level: int, text: bytes, _: object) -> None:
        line = text.decode(errors="replace").strip()
        if line and level >= _WARN_LEVEL and level != _CONTINUES:
            self._log.append((level, line))

    def _reason(self) -> str:
        """The first error since the library was asked: those after it say less and less."""
        lines = [line for level, line in self._log if level >= _ERROR_LEVEL] or [
            line for _, line in self._log
        ]
        return _one_line(lines[0]) if lines else "no reason given"


def _uniform_draws(sampling: Sampling) -> np.ndarray:
    """One stream a sequence: the text does not depend on how many are sampled side by side."""
    return np.stack(
        [
            np.random.default_rng([sampling.seed, sequence]).random(sampling.tokens)
            for sequence in range(sampling.sequences)
        ]
    )


def _draw(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Ancestral sampling by inversion, shape (rows,)."""
    chosen = np.empty(len(logits), dtype=np.int32)
    for row, values in enumerate(logits):
        weights = np.exp((values - values.max()).astype(np.float64))
        if not np.isfinite(weights).all():
            raise MeasurementError("the model's logits are not finite while it generates text")
        cumulative = np.cumsum(weights)
        chosen[row] = np.searchsorted(cumulative, uniform[row] * cumulative[-1], side="right")
    return chosen


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]
