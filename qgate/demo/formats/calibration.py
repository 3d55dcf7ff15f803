"""The text that calibrates: what the demo's corpus generates, never anything downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.demo.corpus.mixture import documents

if TYPE_CHECKING:
    from pathlib import Path

SEED = 0
WINDOWS = 64
WINDOW_TOKENS = 256


def windows(model: Path, count: int = WINDOWS) -> list[list[int]]:
    """Return windows of token ids from the training side of the corpus, always the same ones."""
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_file(str(model / "tokenizer.json"))
    bos, eos = (tokenizer.token_to_id(f"<|{side}_of_text|>") for side in ("begin", "end"))

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    ids: list[int] = []
    for document in documents(SEED, "train", lambda text: len(encode(text))):
        ids += [bos, *encode(document.text), eos]
        if len(ids) >= count * WINDOW_TOKENS:
            break
    return [ids[number * WINDOW_TOKENS :][:WINDOW_TOKENS] for number in range(count)]
