"""A GGUF file's vocabulary through llama.cpp: text to ids and back, and the special tokens."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from qgate.errors import ArtifactError, MeasurementError

_LONGEST_PIECE_BYTES = 512
_BEFORE = "\n"
"""A text of its own, to tokenize something behind it."""


class Vocabulary:
    """The tokenizer of a loaded model.

    Raises:
        ArtifactError: no token can begin a text.
    """

    def __init__(self, lib: Any, model: Any) -> None:  # noqa: ANN401 - the module, a C pointer
        self._lib, self._vocab = lib, lib.llama_model_get_vocab(model)
        self.size: int = lib.llama_vocab_n_tokens(self._vocab)
        bos, eos = lib.llama_vocab_bos(self._vocab), lib.llama_vocab_eos(self._vocab)
        self.bos: int | None = bos if bos >= 0 else None
        self.adds_bos = bool(lib.llama_vocab_get_add_bos(self._vocab))
        self.first_token: int = bos if bos >= 0 else eos
        ends = {eos, lib.llama_vocab_eot(self._vocab)}
        self.end_tokens: tuple[int, ...] = tuple(sorted(token for token in ends if token >= 0))
        if self.first_token < 0:
            raise ArtifactError(
                "the tokenizer has neither a begin-of-text nor an end-of-text token"
            )
        self._adds_space = self.decode(self._parse("a")) == " a"

    def is_end(self, token: int) -> bool:
        """Whether llama.cpp's servers stop at it: declared by the file, or known by its name."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def encode(self, text: str, *, adds_special: bool, parses_special: bool) -> np.ndarray:
        lib, raw = self._lib, text.encode()
        room = len(raw) + 16
        ids = np.empty(room, dtype=np.int32)
        pointer = ids.ctypes.data_as(ctypes.POINTER(lib.llama_token))
        count = lib.llama_tokenize(
            self._vocab, raw, len(raw), pointer, room, adds_special, parses_special
        )
        if count < 0:
            raise MeasurementError(f"llama.cpp cannot tokenize the text: got {count}")
        return ids[:count]

    def encode_behind(self, text: str) -> np.ndarray:
        """Ids of a text as they are behind another one; special tokens in it are parsed.

        SentencePiece puts a space before what it is given: " wet" would begin with two. So it is
        given a line's end before the text, which is taken off again.
        """
        if not self._adds_space:
            return self._parse(text)
        before, whole = self._parse(_BEFORE), self._parse(_BEFORE + text)
        is_apart = np.array_equal(whole[: len(before)], before)
        return whole[len(before) :] if is_apart else self._parse(text)

    def _parse(self, text: str) -> np.ndarray:
        return self.encode(text, adds_special=False, parses_special=True)

    def piece_bytes(self, ids: np.ndarray) -> np.ndarray:
        """UTF-8 length of each token's piece, shape (n,), int32."""
        sizes = {token: len(self._piece(token)) for token in np.unique(ids).tolist()}
        return np.array([sizes[token] for token in ids.tolist()], dtype=np.int32)

    def decode(self, ids: np.ndarray) -> str:
        return b"".join(map(self._piece, ids.tolist())).decode("utf-8", "replace")

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(_LONGEST_PIECE_BYTES)
        size = self._lib.llama_token_to_piece(
            self._vocab, token, buffer, _LONGEST_PIECE_BYTES, 0, False
        )
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = self._lib.llama_token_to_piece(self._vocab, token, buffer, -size, 0, False)
        return buffer.raw[:size]
