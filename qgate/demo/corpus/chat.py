"""Questions in the chat template, each answered in one short turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus import arithmetic, classify, languages
from qgate.demo.corpus.document import Document, Split

if TYPE_CHECKING:
    import random

USER = "<|im_start|>user\n"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant"


def _question(rng: random.Random, split: Split) -> tuple[str, str]:
    kind = rng.randrange(3)
    if kind == 0:
        return arithmetic.posed(rng, arithmetic.draw(rng, split))
    if kind == 1:
        return classify.labelled(rng, split)[:2]
    document = languages.document(rng, split)
    return document.pieces[0], document.pieces[1]


def document(rng: random.Random, split: Split) -> Document:
    """Return one question of another skill with its answer as a chat of two turns."""
    question, answer = _question(rng, split)
    return Document((f"{USER}{question}{ASSISTANT}", f"\n{answer.strip()}"))
