"""A deterministic runtime for tests and for trying qgate out: a bigram model in numpy.

It reads `token_embd.weight` (E) and `output.weight` (W), both F32, from a small GGUF file and
answers logits(t) = W E[t]: a real language model, whose exact divergences are known on paper.
Faults are planted by metadata: `qgate.fake.fault = "segfault:score"` does so when asked to score.
Only `--qgate-runtime=fake` comes here; no other runtime looks at that key.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qgate.artifacts.gguf.header import read_header
from qgate.errors import ArtifactError, MeasurementError, RuntimeUnavailable
from qgate.records import RuntimeFacts
from qgate.runtimes.base import (
    Answer,
    LoadSettings,
    ModelFacts,
    Progress,
    Prompt,
    Sampled,
    Sampling,
    Span,
)
from qgate.runtimes.worker.sampling import write
from qgate.runtimes.worker.stop_strings import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FAULTS = ("segfault", "abort", "hang", "exit0", "nan", "constant", "lose", "unavailable")
"""What can be planted, at `load` or at `score`; `nan`, `constant` and `lose` only at `score`."""

_TOGETHER = 3
"""Windows that are looked up at a time."""


class Fake:
    """The bigram model."""

    def __init__(self) -> None:
        self._fault, self._at = "", ""

    def describe(self) -> RuntimeFacts:
        return RuntimeFacts(name="fake", version="1", device="cpu", build="numpy")

    def load(self, settings: LoadSettings) -> ModelFacts:
        path = Path(settings.path)
        header = read_header(path)
        planted = str(header.metadata.get("qgate.fake.fault", ""))
        self._fault, _, self._at = planted.partition(":")
        self._strike("load")
        tables = {}
        for tensor in (tensor for tensor in header.tensors if tensor.type_name == "F32"):
            raw = np.fromfile(path, dtype="<f4", offset=tensor.offset, count=tensor.n_bytes // 4)
            tables[tensor.name] = raw.reshape(tensor.shape[1], tensor.shape[0])
        if not {"token_embd.weight", "output.weight"} <= tables.keys():
            raise ArtifactError("the fake runtime needs token_embd.weight and output.weight in F32")
        self._embedding, self._output = tables["token_embd.weight"], tables["output.weight"]
        n_vocab, width = self._embedding.shape
        self._end = int(str(header.metadata.get("tokenizer.ggml.eos_token_id", 2)))
        return ModelFacts(
            n_vocab=n_vocab,
            width=width,
            n_params=2 * n_vocab * width,
            context_length=int(str(header.metadata.get("llama.context_length", 512))),
            bos=1,
            adds_bos=True,
            first_token=1,
            end_tokens=(self._end,),
            weights_bytes=8 * n_vocab * width,
            load_s=0.0,
        )

    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        raw = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)
        ids = np.concatenate([[1], raw % len(self._embedding)]).astype(np.int32)
        sizes = np.ones(len(ids), dtype=np.int32)
        sizes[0] = 0
        return ids, sizes

    def logits(self, ids: np.ndarray, first: int) -> np.ndarray:
        """After the tokens at positions `first` and later, shape (rows, n_vocab), float32."""
        return self._look_up(ids, first)[0]

    def logits_of_windows(
        self, windows: np.ndarray, first: int, *, with_hidden: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        if not with_hidden:
            for begin in range(0, len(windows), _TOGETHER):
                group = windows[begin : begin + _TOGETHER]
                yield np.stack([self.logits(ids, first) for ids in group]), None
            return
        for ids in windows:
            logits, states = self._look_up(ids, first)
            yield logits[None], states[None]

    def _look_up(self, ids: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits and hidden states after the tokens at positions `first` and later."""
        self._strike("score")
        states = self._embedding[ids[first:]]
        logits = (states @ self._output.T).astype(np.float32)
        if self._fault == "nan":
            logits[len(logits) // 2] = np.nan
        elif self._fault == "constant":
            logits[:] = 0.0
        elif self._fault == "lose":
            logits, states = logits[:-1], states[:-1]
        return logits, states

    def sample(self, sampling: Sampling, progress: Progress) -> Sampled:
        def read(tokens: np.ndarray, _: int, wanted: np.ndarray) -> np.ndarray:
            logits: np.ndarray = self._embedding[tokens[wanted]] @ self._output.T
            return logits.astype(np.float32)

        return write(sampling, 1, read, progress)

    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        return self.tokenize(text)[0][0 if begins else 1 :]

    def decode(self, ids: np.ndarray) -> str:
        return bytes(int(token) % 256 for token in ids).decode("utf-8", "replace")

    @property
    def tokens_per_pack(self) -> int:
        return 256

    def logits_of_spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        for span in spans:
            yield self.logits(span.ids[:-1], span.first)

    def answer(
        self, prompts: Sequence[Prompt], batch_size: int, progress: Progress
    ) -> list[Answer]:
        answers = []
        for number, prompt in enumerate(prompts):
            progress("answering", number, len(prompts), (number, number + 1))
            answers.append(self._answer(prompt))
        return answers

    def _answer(self, prompt: Prompt) -> Answer:
        ids: list[int] = []
        margins: list[float] = []
        end = None
        for token, margin in self._follow(prompt.ids, prompt.max_tokens):
            margins.append(margin)
            if token == self._end:
                end = token
                break
            ids.append(token)
        leads = np.array(margins, dtype=np.float32)
        answer = Answer(ids=np.array(ids, dtype=np.int32), end=end, margins_nats=leads)
        return shortened(answer, prompt.stops, self.decode)

    def stream(self, ids: np.ndarray, count: int) -> Iterator[int]:
        return (token for token, _ in self._follow(ids, count))

    def _follow(self, ids: np.ndarray, count: int) -> Iterator[tuple[int, float]]:
        """The most likely tokens one after the other, each with its lead over the next best."""
        last = ids[-1:]
        for _ in range(count):
            logits = self.logits(last, 0)
            if not np.isfinite(logits).all():
                raise MeasurementError("the model's logits are not finite while it generates text")
            last = logits.argmax(axis=-1)
            second, first = np.sort(logits[0])[-2:]
            yield int(last[0]), float(first - second)

    def close(self) -> None:
        pass

    def _strike(self, where: str) -> None:
        if self._at != where:
            return
        if self._fault == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self._fault == "abort":
            os.abort()
        elif self._fault == "exit0":
            os._exit(0)
        elif self._fault == "hang":
            time.sleep(3600)
        elif self._fault == "unavailable":
            raise RuntimeUnavailable("runtime 'fake' was told to be unavailable. Install nothing")
