"""Texts to token ids as lm-eval's `hf` model has them, by the tokenizer of a child."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgate.runtimes.requests import TokenizerClient

_TEXTS_PER_CALL = 512
_PROBE = "a"


class Encoder:
    """What is known of many texts after one call for each few hundred of them."""

    def __init__(self, tokenizer: TokenizerClient) -> None:
        self._tokenizer = tokenizer
        [alone] = tokenizer.begin([_PROBE])
        [behind] = tokenizer.follow([f" {_PROBE}"])
        self._adds_first = len(alone) > 1 and int(alone[0]) == tokenizer.first_token
        self.drops_space = np.array_equal(self._bare(alone), behind)
        """Whether a text begins with a space that is not in it: transformers takes it off again
        where it decodes an answer, llama.cpp does not."""
        self._known: dict[str, np.ndarray] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Encode what is not known yet."""
        unknown = list(dict.fromkeys(text for text in texts if text not in self._known))
        for start in range(0, len(unknown), _TEXTS_PER_CALL):
            part = unknown[start : start + _TEXTS_PER_CALL]
            self._known.update(zip(part, self._tokenizer.begin(part), strict=True))

    def whole(self, text: str) -> np.ndarray:
        """A text that begins a sequence; one that spells out its first token gets no second."""
        ids = self._known[text]
        is_twice = len(ids) > 1 and (ids[:2] == self._tokenizer.first_token).all()
        return ids[1:] if self._adds_first and is_twice else ids

    def bare(self, text: str) -> np.ndarray:
        """The same without the token that the tokenizer puts first."""
        return self._bare(self._known[text])

    def _bare(self, ids: np.ndarray) -> np.ndarray:
        return ids[1:] if self._adds_first else ids

    def pair(self, context: str, continuation: str) -> tuple[np.ndarray, np.ndarray]:
        """Both parts of a text, as `TemplateLM.loglikelihood` splits them."""
        first = np.array([self._tokenizer.first_token], dtype=np.int32)
        if not context:
            ids = self.bare(continuation)
            return (ids[:1], ids[1:]) if np.array_equal(ids[:1], first) else (first, ids)
        # white space at the end of a context belongs to what follows it, as tokenizers have it
        before = self.whole(context.rstrip())
        behind = self.whole(context + continuation)[len(before) :]
        return before if len(before) else first, behind


def texts_of(context: str, continuation: str) -> tuple[str, ...]:
    """The texts that `Encoder.pair` looks up."""
    return (context.rstrip(), context + continuation) if context else (continuation,)
