"""What every generator of the demo corpus makes: documents to train on and items to be asked.

Training and held-out material never share a combination: each generator names what it is about
to write by a key (``add:37:48``), and a hash of the key decides which of the two sides owns it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "heldout"]

HELD_OUT_SHARE = 10
"""One key in this many is kept out of the training text."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text in pieces: even pieces set the scene, odd pieces follow from what was said before.

    Each piece starts where the pre-tokenizer splits anyway, so that encoding the pieces one by
    one gives the tokens of the whole text.
    """

    pieces: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Item:
    """One question with one right answer, from the held-out side."""

    task: str
    prompt: str
    choices: tuple[str, ...]
    """Continuations to compare by their log-likelihood; empty: the answer is generated."""
    answer: str
    """Begins with a space or a newline, as the choices do."""


def split_of(key: str) -> Split:
    """Return the side that owns the combination called `key`."""
    return "heldout" if zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0 else "train"


def join(documents: list[Document], separator: str) -> Document:
    """Return one document made of several, still alternating scene and consequence."""
    pieces: list[str] = [""]
    for number, document in enumerate(documents):
        lead = separator if number else ""
        first, *rest = document.pieces
        if len(pieces) % 2:
            pieces[-1] += lead + first
        else:
            pieces.append(lead + first)
        pieces.extend(rest)
    return Document(tuple(pieces))
