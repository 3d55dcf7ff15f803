"""Scores of a SentencePiece tokenizer as a GGUF file of the same model would have them.

What llama.cpp's converter does (convert_hf_to_gguf.py, gguf-py's vocab.py).
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from qgate.artifacts.tokenizer.hf_json import TokenizerJson

_NORMAL_IDS = 259
"""Of SentencePiece: unknown, begin, end and 256 bytes come before the first piece."""
_PADDING_SCORE = -1000.0


def scores_of(tokenizer: TokenizerJson, sentencepiece: bytes | None, n_rows: int) -> frozenset[str]:
    """Digests of scores by id: of tokenizer.model, or what the order of the merges amounts to."""
    known: list[float] | None = None
    if sentencepiece is not None:
        known = piece_scores(sentencepiece)
    elif _merges_by_id(tokenizer):
        known = [
            0.0 if number < _NORMAL_IDS else float(_NORMAL_IDS - number)
            for number in range(1 + max(tokenizer.tokens))
        ]
    if not known:
        return frozenset()
    padded = known + [_PADDING_SCORE] * max(0, n_rows - len(known))
    # a score of -(id - 259) is minus zero at 259 in some files
    signed = [*padded[:_NORMAL_IDS], -0.0, *padded[_NORMAL_IDS + 1 :]]
    variants = [known, padded]
    if len(padded) > _NORMAL_IDS and padded[_NORMAL_IDS] == 0.0:
        variants += [signed, signed[: len(known)]]
    return frozenset(floats_digest(variant) for variant in variants)


def _merges_by_id(tokenizer: TokenizerJson) -> bool:
    """Whether earlier merges make tokens with lower ids, which is what scores of -id say."""
    ids = {text: number for number, text in tokenizer.tokens.items()}
    last = 0
    for merge in tokenizer.merges:
        left, _, right = merge.partition(" ")
        made = ids.get(left + right)
        if made is None or made < last:
            return False
        last = made
    return bool(tokenizer.merges)


def piece_scores(model: bytes) -> list[float] | None:
    """Scores in the order of ids from a SentencePiece model; None where it is something else.

    Protocol buffers: field 1 of ModelProto repeats the pieces, field 2 of a piece is its score.
    """
    scores: list[float] = []
    try:
        for number, content in _fields(model):
            if number == 1:
                raw = next((raw for key, raw in _fields(content) if key == 2), bytes(4))
                scores.append(struct.unpack("<f", raw)[0])
    except (IndexError, struct.error):
        return None
    return scores or None


def _fields(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message; numbers as the bytes that hold them."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        wire, begin = key & 7, at
        if wire == 0:
            length = _varint(raw, at)[1] - at
        elif wire == 2:
            length, begin = _varint(raw, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise IndexError
        at = begin + length
        if at > len(raw):
            raise IndexError
        yield key >> 3, raw[begin:at]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number and where the next byte is; IndexError where it is cut off."""
    value = 0
    for shift in range(0, 64, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise IndexError


def floats_digest(numbers: Iterable[float]) -> str:
    """Of a list of scores; a short one is not hashed in the header, so it is here."""
    listed = [float(number) for number in numbers]
    return f"sha256:{hashlib.sha256(struct.pack(f'<{len(listed)}f', *listed)).hexdigest()}"
