"""Hugging Face directories in transformers: strictly loaded, scored in parts, our own loops.

Sequences of one length are read side by side; of unlike lengths the shorter ones are padded behind
their end, where nothing before it looks. Only wanted rows meet the output matrix.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError, RuntimeUnavailable
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
from qgate.runtimes.hf_vocabulary import Vocabulary
from qgate.runtimes.torch_memory import peak_bytes
from qgate.runtimes.transformers import boundary as door
from qgate.runtimes.transformers import generate as transformers_generate
from qgate.runtimes.transformers import memory as transformers_memory
from qgate.runtimes.transformers import requirements as transformers_packages
from qgate.runtimes.transformers.fork import states_of_forks
from qgate.runtimes.transformers.forward import Body
from qgate.runtimes.transformers.load import load
from qgate.runtimes.worker.forks import find_forks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.worker.forks import Fork

_TOKENS_TOGETHER = 2048
"""Of windows that are read in one call."""
_TOKENS_PER_PACK = 2048
_WASTE = 1.25
"""Sequences of a pack are read together as long as padding makes no more of them than this."""
_RULE = "float32 on a CPU, the file's dtype on a GPU"


class Transformers:
    """One model of a Hugging Face directory."""

    def __init__(self) -> None:
        try:
            with door.silence():
                import torch
                import transformers
        except (ImportError, RuntimeError, OSError) as error:
            raise RuntimeUnavailable(
                f"runtime 'transformers' is not installed ({door.one_line(error)})."
                f" Install it with: {transformers_packages.EXTRA}"
            ) from error
        self._torch, self._version = torch, str(transformers.__version__)
        self._body: Any = None

    def describe(self) -> RuntimeFacts:
        torch = self._torch
        has_gpu = torch.cuda.is_available()
        device = (
            torch.cuda.get_device_name(0) if has_gpu else torch.backends.cpu.get_cpu_capability()
        )
        build = f"torch {torch.__version__}; {device}; {_RULE}; {transformers_packages.versions()}"
        return RuntimeFacts(
            name="transformers",
            version=self._version,
            device="gpu" if has_gpu else "cpu",
            build=build,
        )

    def load(self, settings: LoadSettings) -> ModelFacts:
        started = time.perf_counter()
        self._torch.set_num_threads(settings.threads or settings.processors)
        with door.loading():
            loaded = load(settings)
            self._body = Body(loaded.model)
            self._weights_bytes = transformers_memory.weights_bytes(loaded.model)
            self._vocab = Vocabulary(loaded.tokenizer, Path(settings.path))
            config = loaded.model.config.get_text_config()
            self._together = max(1, _TOKENS_TOGETHER // settings.window_tokens)
            return ModelFacts(
                n_vocab=self._body.n_vocab,
                width=self._body.width,
                n_params=transformers_memory.parameter_count(loaded.model),
                context_length=_context_length(config),
                bos=self._vocab.bos,
                adds_bos=self._vocab.adds_bos,
                first_token=self._vocab.first_token,
                end_tokens=self._vocab.end_tokens,
                weights_bytes=self._weights_bytes,
                load_s=time.perf_counter() - started,
                kernel=transformers_memory.kernels(loaded.model) if loaded.scheme else "",
            )

    @door.translate_errors
    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        return self._vocab.tokenize(text)

    @door.translate_errors
    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        return self._vocab.encode(text, begins=begins)

    @door.translate_errors
    def decode(self, ids: np.ndarray) -> str:
        return self._vocab.decode(ids)

    # --- likelihoods --------------------------------------------------------------------------

    @door.translate_errors_while_iterating
    def logits_of_windows(
        self, windows: np.ndarray, first: int, *, with_hidden: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for begin in range(0, len(windows), self._together):
            for logits, states in self._parts(windows[begin : begin + self._together], first):
                yield logits, states.float().cpu().numpy() if with_hidden else None

    def _parts(self, windows: np.ndarray, first: int) -> Iterator[tuple[np.ndarray, Any]]:
        """Logits and states, shapes (windows, rows, ...): whole windows, or rows of one."""
        states = self._body.read(windows).states[:, first:]
        count, rows, width = states.shape
        whole = self._body.rows_per_part // rows
        if whole:
            flat = states.reshape(-1, width)
            for logits, part in self._body.parts(flat, whole * rows):
                yield logits.reshape(-1, rows, logits.shape[-1]), part.reshape(-1, rows, width)
            return
        for window in range(count):
            for logits, part in self._body.parts(states[window]):
                yield logits[None], part[None]

    @property
    def tokens_per_pack(self) -> int:
        return _TOKENS_PER_PACK

    @door.translate_errors_while_iterating
    def logits_of_spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        forks = find_forks(spans) if self._body.shares_cache else []
        states = self._shared(spans, forks) if forks else self._apart(spans)
        for logits, _ in self._body.parts(self._torch.cat(states)):
            yield logits

    def _shared(self, spans: Sequence[Span], forks: Sequence[Fork]) -> list[Any]:
        """Final hidden states of each span; a prompt of several is read once."""
        found: dict[int, Any] = {}
        for group in _alike([len(fork.prompt) for fork in forks]):
            found |= states_of_forks(self._body, spans, [forks[number] for number in group])
        return [found[number] for number in range(len(spans))]

    def _apart(self, spans: Sequence[Span]) -> list[Any]:
        """Final hidden states of each span, each read from its beginning."""
        states: list[Any] = [None] * len(spans)
        for group in _alike([len(span.ids) for span in spans]):
            longest = max(len(spans[number].ids) for number in group) - 1
            ids = np.zeros((len(group), longest), dtype=np.int64)
            for row, number in enumerate(group):
                ids[row, : len(spans[number].ids) - 1] = spans[number].ids[:-1]
            found = self._body.read(ids).states
            for row, number in enumerate(group):
                span = spans[number]
                states[number] = found[row, span.first : len(span.ids) - 1]
        return states

    # --- text ---------------------------------------------------------------------------------

    @door.translate_errors
    def sample(self, sampling: Sampling, progress: Progress) -> Sampled:
        first = self._vocab.first_token
        return transformers_generate.draw_text(self._body, sampling, first, progress)

    @door.translate_errors
    def answer(
        self, prompts: Sequence[Prompt], batch_size: int, progress: Progress
    ) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(prompts), batch_size):
            group = prompts[start : start + batch_size]
            progress("answering", start, len(prompts), (start, start + len(group)))
            answers += transformers_generate.answer_together(
                self._body, group, self._vocab, progress
            )
        return answers

    @door.translate_errors_while_iterating
    def stream(self, ids: np.ndarray, count: int) -> Iterator[int]:
        yield from transformers_generate.stream(self._body, ids, count)

    # --- memory -------------------------------------------------------------------------------

    @door.translate_errors
    def fill_context(self, tokens: int) -> Buffers:
        drawn = np.random.default_rng(0).integers(0, self._body.n_vocab, tokens)
        kept: list[Any] = []

        def serve() -> None:
            read = transformers_generate.read_prompts(self._body, drawn[None, :-1], None)
            self._body.logits(read.states[:, -1])
            read = self._body.read(drawn[None, -1:], read.cache, keep=True)
            self._body.logits(read.states[:, -1])
            kept.append(read.cache)

        peak = peak_bytes(serve)
        cache = kept[0]
        kv_cache = transformers_memory.cache_bytes(cache)
        if cache.get_seq_length() != tokens:
            raise MeasurementError(
                f"transformers: got {cache.get_seq_length()} tokens in the cache; expected {tokens}"
            )
        return Buffers(
            weights_bytes=self._weights_bytes,
            kv_cache_bytes=kv_cache,
            compute_bytes=max(0, peak - kv_cache),
            context_tokens=tokens,
        )

    def close(self) -> None:
        import gc

        self._body = None
        gc.collect()
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()


def _context_length(config: Any) -> int:  # noqa: ANN401 - the library's
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"):
        if isinstance(found := getattr(config, name, None), int):
            return found
    raise MeasurementError("config.json does not say how many tokens the model was trained for")


def _alike(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of sequences that are read together: the longest first, until padding would waste."""
    order = sorted(range(len(sizes)), key=lambda number: -sizes[number])
    group: list[int] = []
    tokens = 0
    for number in order:
        size = sizes[number]
        padded = (len(group) + 1) * sizes[group[0] if group else number]
        if group and padded > _WASTE * (tokens + size):
            yield group
            group, tokens = [], 0
        group.append(number)
        tokens += size
    yield group
