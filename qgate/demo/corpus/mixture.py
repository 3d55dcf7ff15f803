"""The mixture of all skills: an endless, seeded stream of documents."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from qgate.demo.corpus import (
    arithmetic,
    chat,
    classify,
    code,
    drill,
    echo,
    languages,
    recall,
    story,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qgate.demo.corpus.document import Document, Split

SHARES = {
    "arithmetic": 0.08,
    "story": 0.04,
    "classify": 0.02,
    "code": 0.1,
    "languages": 0.45,
    "chat": 0.03,
    "recall_short": 0.03,
    "recall": 0.08,
    "drill": 0.17,
}
"""Share of each kind in the training tokens."""
FIRST_SHARES = {
    "arithmetic": 0.26,
    "story": 0.05,
    "classify": 0.04,
    "code": 0.2,
    "languages": 0.2,
    "chat": 0.03,
    "recall_short": 0.14,
    "echo": 0.08,
}
"""The same while training begins: looking back is learned over short distances first."""
PLAIN = {
    "arithmetic": arithmetic.document,
    "story": story.document,
    "classify": classify.document,
    "code": code.document,
    "languages": languages.document,
    "chat": chat.document,
    "recall_short": recall.short,
    "echo": echo.document,
    "drill": drill.document,
}


def documents(
    seed: int, split: Split, length: Callable[[str], int], shares: dict[str, float] | None = None
) -> Iterator[Document]:
    """Yield documents so that each kind gets its share of the tokens."""
    shares = shares or SHARES
    rng = random.Random(f"qgate-demo:{split}:{seed}")  # noqa: S311 - text, not secrets
    given = {kind: rng.random() for kind in shares}
    while True:
        kind = min(shares, key=lambda name: given[name] / shares[name])
        if kind == "recall":
            document = recall.document(rng, split, length)
        else:
            document = PLAIN[kind](rng, split)
        given[kind] += length(document.text)
        yield document
