"""Text to the served model's token ids and back, and a prompt in the form that its server takes."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from qgate.errors import MeasurementError, RuntimeUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_BEFORE = "\n"
"""A text of its own, to tokenize something behind it."""
_WORDS = (
    *("the", "a", "went", "and", "park", "in", "he", "she", "was", "to", "Anna", "cat", "dog"),
    *("on", "it", "red", "with", "big", "saw", "tree", "of", "old", "ran"),
)
_WORDS_PER_TOKEN = 4
_SALT_LETTERS = 8
_CLOSE = 16
"""Characters around the length that bisection found."""


@runtime_checkable
class Tokenizer(Protocol):
    """Either the server's own or one that lies on this disk."""

    def tokenize(self, text: str, *, begins: bool) -> tuple[int, ...]:
        """Token ids, special tokens parsed; where it `begins`, what begins a text before it."""

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of token ids."""


class LocalTokenizer:
    """`tokenizer.json` of a Hugging Face directory; nothing in the directory is run.

    Raises:
        MeasurementError: there is none.
        RuntimeUnavailable: the package that reads it is not installed.
    """

    def __init__(self, directory: Path, server: str) -> None:
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise MeasurementError(
                f"openai_server: {server}: has no tokenizer that is known here, and there is no"
                f" tokenizer.json in {directory.name}. Serve the model with vllm or llama-server,"
                " which have one"
            )
        try:
            from tokenizers import Tokenizer as Library
        except ImportError as error:
            raise RuntimeUnavailable(
                f"openai_server: {server}: has no tokenizer, and the package that reads"
                " tokenizer.json is not installed. Install it with: pip install tokenizers"
            ) from error
        try:
            self._library = Library.from_file(str(path))
        except Exception as error:  # the library raises no narrower one
            raise MeasurementError(f"{path.name}: cannot be read: {error}") from error

    def tokenize(self, text: str, *, begins: bool) -> tuple[int, ...]:
        return tuple(self._library.encode(text, add_special_tokens=begins).ids)

    def detokenize(self, ids: Sequence[int]) -> str:
        return str(self._library.decode(list(ids), skip_special_tokens=True))


class Text:
    """The tokenizer of a served model.

    Raises:
        MeasurementError: it does not do what tokenizers of language models do.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._written: dict[bytes, str] = {}
        alone, begun = self._plain("a"), tokenizer.tokenize("a", begins=True)
        self.begin = begun[: len(begun) - len(alone)]
        """What the tokenizer puts before a text."""
        if (*self.begin, *alone) != begun:
            raise MeasurementError(
                f"openai_server: tokenizer: got {list(begun)} for a text; expected"
                f" {list(alone)} with nothing but its beginning before it"
            )
        self._before = self._plain(_BEFORE)
        behind = self._cut(self._plain(f"{_BEFORE}a"))
        self._adds_space = behind is not None and behind != alone

    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        """Token ids of a text, shape (n,), int32; special tokens in it are parsed."""
        if begins:
            ids = _array(self._tokenizer.tokenize(text, begins=True))
            self._written[ids.tobytes()] = text
            return ids
        return _array(self._behind(text))

    def decode(self, ids: np.ndarray, ends: Sequence[int]) -> str:
        """The text of token ids without what begins and what ends one."""
        known = {*self.begin, *ends}
        kept = [token for token in ids.tolist() if token not in known]
        return self._tokenizer.detokenize(kept) if kept else ""

    def written(self, ids: np.ndarray) -> str:
        """The text that becomes exactly these tokens.

        Raises:
            MeasurementError: none is found: their text becomes others.
        """
        text = self._written.get(ids.tobytes())
        if text is not None:
            return text
        given = ids.tolist()
        begin = len(self.begin) if tuple(given[: len(self.begin)]) == self.begin else 0
        text = self._tokenizer.detokenize(given[begin:]) if given[begin:] else ""
        found = list(self._tokenizer.tokenize(text, begins=True))
        if found != given:
            raise MeasurementError(
                f"openai_server: this server takes text only, and a prompt of {len(given)} tokens"
                f" is not what its text becomes: got {len(found)} tokens. Serve the model with"
                " vllm or llama-server, which take token ids"
            )
        return text

    def as_long_as(self, ids: np.ndarray) -> str:
        """A text of as many tokens, for requests of which only the length matters.

        Never the same one twice: some servers keep what they read before.

        Raises:
            MeasurementError: none is found.
        """
        picked = (_WORDS[token % len(_WORDS)] for token in (ids.tolist() * _WORDS_PER_TOKEN))
        text = " ".join([uuid.uuid4().hex[:_SALT_LETTERS], *picked])
        low, high = 0, len(text)
        while low < high:
            middle = (low + high) // 2
            if self._count(text[:middle]) < len(ids):
                low = middle + 1
            else:
                high = middle
        for step in itertools.chain.from_iterable((at, -at) for at in range(_CLOSE)):
            tried = text[: max(low + step, 0)]
            if self._count(tried) == len(ids):
                return tried
        raise MeasurementError(f"openai_server: found no text of exactly {len(ids)} tokens")

    def _count(self, text: str) -> int:
        return len(self._tokenizer.tokenize(text, begins=True))

    def _behind(self, text: str) -> tuple[int, ...]:
        """SentencePiece puts a space before what it is given, so it is given a line's end first."""
        if not self._adds_space:
            return self._plain(text)
        found = self._cut(self._plain(_BEFORE + text))
        return self._plain(text) if found is None else found

    def _cut(self, whole: tuple[int, ...]) -> tuple[int, ...] | None:
        size = len(self._before)
        return whole[size:] if whole[:size] == self._before else None

    def _plain(self, text: str) -> tuple[int, ...]:
        return self._tokenizer.tokenize(text, begins=False) if text else ()


def _array(ids: Sequence[int]) -> np.ndarray:
    return np.array(ids, dtype=np.int32)
