"""As much of llama.cpp's low-level API as measuring the demo model's skills needs."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from qgate.demo.llama_log import captured, reason

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

CONTEXT = 512
SEQUENCES = 8
"""Prompt and candidates that are scored together."""


class LoadError(Exception):
    """llama.cpp cannot load the file; carries the last line of its log."""


class Model:
    """A GGUF file in llama.cpp: ids of a text, log-probabilities of ids, greedy answers."""

    def __init__(self, path: Path, threads: int = 2) -> None:
        import llama_cpp
        import numpy as np

        self._lib = llama_cpp
        with captured() as lines:
            llama_cpp.llama_backend_init()
            settings = llama_cpp.llama_model_default_params()
            self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), settings)
            if not self._model:
                raise LoadError(f"{path}: llama.cpp cannot load it: {reason(lines)}")
            self._context = self._make_context(threads)
        self._vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.size = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        self.bos = llama_cpp.llama_vocab_bos(self._vocabulary)
        self.eos = llama_cpp.llama_vocab_eos(self._vocabulary)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(CONTEXT, 0, 1)
        self._views = {
            name: np.ctypeslib.as_array(getattr(self._batch, name), (CONTEXT,))
            for name in ("token", "pos", "logits", "n_seq_id")
        }

    def _make_context(self, threads: int) -> Any:  # noqa: ANN401 - a C pointer
        settings = self._lib.llama_context_default_params()
        settings.n_ctx = 2 * CONTEXT
        settings.n_batch = settings.n_ubatch = CONTEXT
        settings.n_seq_max = SEQUENCES
        settings.kv_unified = True
        settings.n_threads = settings.n_threads_batch = threads
        return self._lib.llama_init_from_model(self._model, settings)

    def close(self) -> None:
        """Free everything."""
        with captured():
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, special tokens included, without a begin of text."""
        raw = text.encode()
        room = len(raw) + 8
        ids = (ctypes.c_int32 * room)()
        count = self._lib.llama_tokenize(
            self._vocabulary,
            raw,
            len(raw),
            ids,
            room,
            False,
            True,
        )
        return list(ids[:count])

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, special tokens left out."""
        raw = b""
        for number in ids:
            room = ctypes.create_string_buffer(64)
            size = self._lib.llama_token_to_piece(self._vocabulary, number, room, 64, 0, False)
            raw += room.raw[: max(0, size)]
        return raw.decode("utf-8", "replace")

    def _run(self, ids: list[int], at: list[int], owner: list[int], wanted: list[bool]) -> Any:  # noqa: ANN401
        import numpy as np

        count = len(ids)
        views = self._views
        views["token"][:count], views["pos"][:count] = ids, at
        views["logits"][:count], views["n_seq_id"][:count] = wanted, 1
        for row, sequence in enumerate(owner):
            self._batch.seq_id[row][0] = sequence
        self._batch.n_tokens = count
        code = self._lib.llama_decode(self._context, self._batch)
        if code != 0:
            raise RuntimeError(f"llama_decode: got {code}; expected 0.")
        rows = sum(wanted)
        logits = np.ctypeslib.as_array(
            self._lib.llama_get_logits(self._context), (rows, self.size)
        ).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def _read(self, ids: list[int], wanted: list[bool]) -> Any:  # noqa: ANN401
        self._lib.llama_memory_clear(self._memory, True)
        return self._run(ids, list(range(len(ids))), [0] * len(ids), wanted)

    def second_half(self, chunk: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the negative log-likelihoods, nats, of a whole context's second half."""
        import numpy as np

        half = len(chunk) // 2
        rows = self._read(chunk, [at >= half for at in range(len(chunk))])[:-1]
        nll: np.ndarray[tuple[int], np.dtype[np.float64]]
        nll = -rows[np.arange(len(rows)), chunk[half + 1 :]]
        return nll

    def log_probabilities(self, ids: list[int]) -> Any:  # noqa: ANN401 - an array
        """Return the log-probabilities after each id, shape (len(ids), vocabulary), nats."""
        return self._read(ids, [True] * len(ids))

    def score(self, prompt: str, choices: tuple[str, ...]) -> list[float]:
        """Return the log-likelihood, nats, of each choice after the prompt."""
        start = [self.bos, *self.encode(prompt)]
        last = self._read(start, [at == len(start) - 1 for at in range(len(start))])[0]
        encoded = [self.encode(choice) for choice in choices]
        totals = [float(last[ids[0]]) for ids in encoded]
        ids: list[int] = []
        at: list[int] = []
        owner: list[int] = []
        for number, choice in enumerate(encoded, 1):
            self._lib.llama_memory_seq_cp(self._memory, 0, number, -1, -1)
            ids += choice[:-1]
            at += range(len(start), len(start) + len(choice) - 1)
            owner += [number] * (len(choice) - 1)
        if not ids:
            return totals
        rows = self._run(ids, at, owner, [True] * len(ids))
        row = 0
        for number, choice in enumerate(encoded):
            for target in choice[1:]:
                totals[number] += float(rows[row, target])
                row += 1
        return totals

    def answer(self, prompt: str, most: int = 40) -> str:
        """Return the greedy continuation up to the end of text or of its first line."""
        ids = [self.bos, *self.encode(prompt)]
        row = self._read(ids, [at == len(ids) - 1 for at in range(len(ids))])[0]
        given: list[int] = []
        while len(given) < most and len(ids) + len(given) < CONTEXT:
            best = int(row.argmax())
            if self._lib.llama_vocab_is_eog(self._vocabulary, best):
                break
            given.append(best)
            text = self.decode(given)
            if "\n" in text.strip("\n") or (text.endswith("\n") and text.strip()):
                break
            row = self._run([best], [len(ids) + len(given) - 1], [0], [True])[0]
        text = self.decode(given).strip()
        return text.splitlines()[0] if text else ""
