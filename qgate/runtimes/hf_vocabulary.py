"""The tokenizer that vLLM holds: text to ids and back, the bytes of a piece, the special tokens."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BEFORE = "\n"
"""A text of its own, to tokenize something behind it."""
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How SentencePiece writes a space."""


class Vocabulary:
    """A Hugging Face tokenizer of the fast kind, and what the model's files say about ends.

    Raises:
        ArtifactError: no token can begin a text, or the tokenizer is of another kind.
    """

    def __init__(self, tokenizer: Any, directory: Path) -> None:  # noqa: ANN401 - the library's
        if not getattr(tokenizer, "is_fast", False):
            raise ArtifactError(
                f"{directory.name}: got a tokenizer of class {type(tokenizer).__name__};"
                " expected one with a tokenizer.json"
            )
        self._tokenizer = tokenizer
        told = json.loads(tokenizer.backend_tokenizer.to_str())
        self._is_byte_level = "ByteLevel" in set(_types(told.get("decoder")))
        self._added = {
            entry["id"]: b"" if entry["special"] else entry["content"].encode()
            for entry in told["added_tokens"]
        }
        self.bos: int | None = tokenizer.bos_token_id
        self.adds_bos = self.bos is not None and self._ids("a")[:1] == [self.bos]
        self.end_tokens: tuple[int, ...] = _end_tokens(tokenizer, directory)
        first = self.bos if self.bos is not None else tokenizer.eos_token_id
        if first is None:
            raise ArtifactError(
                "the tokenizer has neither a begin-of-text nor an end-of-text token"
            )
        self.first_token: int = first
        alone = self._ids("a", add_special_tokens=False)
        self._adds_space = b"".join(map(self._piece, alone)) == b" a"

    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """As `Runtime.tokenize`: special tokens are added by the tokenizer's rule, none parsed."""
        ids = np.array(self._ids(text, split_special_tokens=True), dtype=np.int32)
        sizes = {token: len(self._piece(token)) for token in np.unique(ids).tolist()}
        return ids, np.array([sizes[token] for token in ids.tolist()], dtype=np.int32)

    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        """As `Runtime.encode`: special tokens in the text are parsed."""
        if begins:
            return np.array(self._ids(text), dtype=np.int32)
        plain = self._ids(text, add_special_tokens=False)
        if self._adds_space:
            # SentencePiece puts a space before what it is given; behind another text none belongs
            before = self._ids(_BEFORE, add_special_tokens=False)
            whole = self._ids(_BEFORE + text, add_special_tokens=False)
            if whole[: len(before)] == before:
                plain = whole[len(before) :]
        return np.array(plain, dtype=np.int32)

    def decode(self, ids: np.ndarray) -> str:
        """As llama.cpp puts text together: piece by piece, nothing cleaned up."""
        return b"".join(map(self._piece, ids.tolist())).decode("utf-8", "replace")

    def _ids(self, text: str, **how: bool) -> list[int]:
        ids: list[int] = self._tokenizer(text, **how)["input_ids"]
        return ids

    def _piece(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token]
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return b""  # the output matrix has more rows than the tokenizer has tokens
        if self._is_byte_level:
            return bytes(_BYTES[letter] for letter in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        written: bytes = piece.replace(_SPACE, " ").encode()
        return written


def _types(part: Any) -> Iterator[str]:  # noqa: ANN401 - whatever JSON holds
    if isinstance(part, dict):
        yield str(part.get("type"))
        for inner in part.get("decoders", ()):
            yield from _types(inner)


def _end_tokens(tokenizer: Any, directory: Path) -> tuple[int, ...]:  # noqa: ANN401 - the library's
    """By the model's own word: its tokenizer's end and what its two configurations list."""
    found = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        path = directory / name
        listed = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        ends = listed.get("eos_token_id")
        found.update(ends if isinstance(ends, list) else [ends])
    return tuple(sorted(token for token in found if isinstance(token, int)))


def _byte_alphabet() -> dict[str, int]:
    """How byte-level BPE writes bytes: printable ones as they are, others from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(256 + number): byte for number, byte in enumerate(others)},
    }


_BYTES: Mapping[str, int] = MappingProxyType(_byte_alphabet())
