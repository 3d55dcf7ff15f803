"""llama.cpp through llama-cpp-python's low-level API.

The high-level `Llama` class computes and copies logits of every row (twice the work and
`n_ctx x n_vocab` floats on the host), swallows unknown arguments and hides the reason why a file
does not load; so this adapter speaks to the C functions. Flash attention is left to llama.cpp's
own choice, as `llama-perplexity` does. There is one context at a time, made for what is asked.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import ArtifactError, RuntimeUnavailable
from qgate.records import RuntimeFacts
from qgate.runtimes.base import (
    Answer,
    Buffers,
    LoadSettings,
    ModelFacts,
    Progress,
    Prompt,
    Sampled,
    Sampling,
    Span,
)
from qgate.runtimes.llama_cpp import generate as llama_generate
from qgate.runtimes.llama_cpp import memory as llama_memory
from qgate.runtimes.llama_cpp.context import Context, Library, Shape
from qgate.runtimes.llama_cpp.fork import logits_of_forks
from qgate.runtimes.llama_cpp.log import LlamaLog, one_line
from qgate.runtimes.llama_cpp.vocabulary import Vocabulary
from qgate.runtimes.worker.forks import find_forks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SAME_KERNELS_TOKENS = 64
"""So many tokens of one sequence in a call, and it does not matter how many more there are."""
_TOKENS_TOGETHER = 1024
"""Windows that fit are decoded together, two at most, in one call of llama.cpp: a tenth faster than
one by one. With four, the logits that are held weigh more than the time that is saved."""
_MOST_TOGETHER = 2
_TOKENS_PER_CALL = 512
"""Of packed sequences and long prompts: as llama.cpp's own tools by default."""
_TOKENS_PER_PACK = 512
_SEQUENCES_PER_PACK = 64


class LlamaCpp:
    """One GGUF model and the context that is in use."""

    def __init__(self) -> None:
        try:
            import llama_cpp
        except (ImportError, RuntimeError, OSError) as error:
            raise RuntimeUnavailable(
                f"runtime 'llama_cpp' is not installed ({one_line(error)})."
                ' Install it with: pip install "pytest-qgate[gguf]"'
            ) from error
        self._lib = llama_cpp
        self._log = LlamaLog(llama_cpp)
        llama_cpp.llama_backend_init()
        self._model: Any = None
        self._current: Context | None = None

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
        parameters = lib.llama_model_default_params()
        parameters.check_tensors = True  # NaN and garbage in a block are refused, not served
        parameters.n_gpu_layers = 999 if lib.llama_supports_gpu_offload() else 0
        with self._log.recorded() as lines:
            self._model = lib.llama_model_load_from_file(os.fsencode(settings.path), parameters)
        if not self._model:
            raise ArtifactError(f"llama.cpp refuses the file: {self._log.reason()}")
        self._weights_bytes = llama_memory.weights_bytes(lines)
        self._vocab = Vocabulary(lib, self._model)
        self._library = Library(
            lib=lib,
            model=self._model,
            log=self._log,
            threads=settings.threads or settings.processors,
            n_vocab=self._vocab.size,
            width=lib.llama_model_n_embd(self._model),
        )
        self._window = settings.window_tokens
        self._together = max(1, min(_TOKENS_TOGETHER // self._window, _MOST_TOGETHER))
        return ModelFacts(
            n_vocab=self._library.n_vocab,
            width=self._library.width,
            n_params=lib.llama_model_n_params(self._model),
            context_length=lib.llama_model_n_ctx_train(self._model),
            bos=self._vocab.bos,
            adds_bos=self._vocab.adds_bos,
            first_token=self._vocab.first_token,
            end_tokens=self._vocab.end_tokens,
            weights_bytes=lib.llama_model_size(self._model),
            load_s=time.perf_counter() - started,
        )

    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        ids = self._vocab.encode(text, adds_special=True, parses_special=False)
        return ids, self._vocab.piece_bytes(ids)

    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        if not begins:
            return self._vocab.encode_behind(text)
        return self._vocab.encode(text, adds_special=True, parses_special=True)

    def decode(self, ids: np.ndarray) -> str:
        return self._vocab.decode(ids)

    # --- likelihoods --------------------------------------------------------------------------

    def logits_of_windows(
        self, windows: np.ndarray, first: int, *, with_hidden: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        if with_hidden:
            yield from self._with_hidden(windows, first)
            return
        for begin in range(0, len(windows), self._together):
            for logits in self._together_logits(windows[begin : begin + self._together], first):
                yield logits, None

    def _logits(self, ids: np.ndarray, first: int) -> np.ndarray:
        """Of one window, shape (rows, n_vocab)."""
        context = self._read_before(ids, first)
        context.decode(context.batch.fill_windows(ids[None, first:], start=first, first=first))
        return context.logits(len(ids) - first)

    def _together_logits(self, windows: np.ndarray, first: int) -> Iterator[np.ndarray]:
        """Of as many windows as are decoded in one call."""
        count, size = windows.shape
        calls = (first, size - first) if first else (size,)
        if min(calls) < _SAME_KERNELS_TOKENS:
            yield np.stack([self._logits(ids, first).copy() for ids in windows])
            return
        context = self._window_context()
        if not first:  # twice the logits: one window of these is as much to hold as two of those
            for ids in windows:
                context.clear()
                context.decode(context.batch.fill_windows(ids[None], start=0, first=0))
                yield context.logits(size)[None]
            return
        context.clear()
        context.decode(context.batch.fill_windows(windows, start=0, first=first))
        flat = context.logits(count * (size - first))
        yield flat.reshape(count, size - first, self._library.n_vocab)

    def _with_hidden(
        self, windows: np.ndarray, first: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for ids in windows:
            context = self._read_before(ids, first)
            context.want_embeddings(True)
            try:
                context.decode(
                    context.batch.fill_windows(ids[None, first:], start=first, first=first)
                )
            finally:
                context.want_embeddings(False)
            rows = len(ids) - first
            yield context.logits(rows)[None], context.embeddings(rows)[None]

    def _read_before(self, ids: np.ndarray, first: int) -> Context:
        """Decode what comes before `first`, in a call of its own.

        With embeddings on, llama.cpp computes logits for every token of the call. Without them it
        is done so too, for llama.cpp picks kernels by the tokens of a call: with windows
        below 128 tokens, one call instead of two moves logits by up to 0.3 (Q8_0), which would
        read as damage.
        """
        context = self._window_context()
        context.clear()
        if first:
            context.decode(context.batch.fill_windows(ids[None, :first], start=0, first=first))
        return context

    def _window_context(self) -> Context:
        per_call = self._window * self._together
        return self._context(
            Shape(tokens=self._window, sequences=self._together, per_call=per_call)
        )

    @property
    def tokens_per_pack(self) -> int:
        return _TOKENS_PER_PACK

    def logits_of_spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        context = self._context(
            Shape(
                tokens=max(_TOKENS_PER_PACK, sum(len(span.ids) - 1 for span in spans)),
                sequences=_SEQUENCES_PER_PACK,
                per_call=_TOKENS_PER_CALL,
                is_shared=True,
            )
        )
        if forks := find_forks(spans):
            yield from logits_of_forks(context, spans, forks)
            return
        sizes = [len(span.ids) - 1 for span in spans]  # the last token predicts nothing
        tokens = np.concatenate([span.ids[:-1] for span in spans])
        positions = np.concatenate([np.arange(size) for size in sizes])
        owners = np.repeat(np.arange(len(spans), dtype=np.int32), sizes)
        wanted = positions >= np.repeat([span.first for span in spans], sizes)
        context.clear()
        yield from context.rows_of(tokens, positions, owners, wanted=wanted)

    # --- text ---------------------------------------------------------------------------------

    def sample(self, sampling: Sampling, progress: Progress) -> Sampled:
        count = sampling.sequences
        context = self._context(Shape(tokens=sampling.tokens, sequences=count, per_call=count))
        return llama_generate.draw_text(context, sampling, self._vocab.first_token, progress)

    def answer(
        self, prompts: Sequence[Prompt], batch_size: int, progress: Progress
    ) -> list[Answer]:
        starts = range(0, len(prompts), batch_size)
        groups = [prompts[start : start + batch_size] for start in starts]
        longest = max(sum(len(p.ids) + p.max_tokens for p in group) for group in groups)
        context = self._context(
            Shape(
                tokens=longest,
                # llama.cpp aborts where there are more of them than tokens
                sequences=min(batch_size, len(prompts)),
                per_call=_TOKENS_PER_CALL,
                is_shared=True,
            )
        )
        answers: list[Answer] = []
        for group in groups:
            begin, end = len(answers), len(answers) + len(group)
            progress("answering", begin, len(prompts), (begin, end))
            answers += llama_generate.answer_together(context, group, self._vocab, progress)
        return answers

    def stream(self, ids: np.ndarray, count: int) -> Iterator[int]:
        context = self._context(
            Shape(tokens=len(ids) + count, sequences=1, per_call=_TOKENS_PER_CALL)
        )
        return llama_generate.stream(context, ids, count)

    # --- memory -------------------------------------------------------------------------------

    def fill_context(self, tokens: int) -> Buffers:
        self._free_context()  # one that is there already logs nothing
        with self._log.recorded() as lines:
            context = self._context(
                Shape(tokens=tokens, sequences=1, per_call=min(tokens, _TOKENS_PER_CALL))
            )
        ids = np.random.default_rng(0).integers(0, self._library.n_vocab, tokens - 1)
        for _ in llama_generate.stream(context, ids.astype(np.int32), 1):
            pass
        return llama_memory.buffers(self._weights_bytes, lines)

    def close(self) -> None:
        self._free_context()
        if self._model:
            self._lib.llama_model_free(self._model)
        self._model = None

    def _context(self, shape: Shape) -> Context:
        """The context of this shape; another one that was in use is freed first."""
        if self._current is None or self._current.shape != shape:
            self._free_context()
            self._current = Context(self._library, shape)
        return self._current

    def _free_context(self) -> None:
        if self._current is not None:
            self._current.free()
        self._current = None
