"""A Hugging Face tokenizer as a GGUF file of the same model would have it.

What llama.cpp's converter does (convert_hf_to_gguf.py, gguf-py's vocab.py), as far as it can be
told without running a tokenizer: ids beyond the vocabulary are named [PAD<id>], and ▁ in added
tokens is written as a space by some versions and not by others, so both are right.
"""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.artifacts.tokenizer.hf_json import SPACE, TokenizerJson
from qgate.artifacts.tokenizer.terms import Terms, floats_digest, split_of, strings_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MOST_PADDING = 65_536
"""Rows without a token beyond one for each that there is: more is no padding."""
_NORMAL_IDS = 259
"""Of SentencePiece: unknown, begin, end and 256 bytes come before the first piece."""
_PADDING_SCORE = -1000.0


def terms_of_tokenizer(
    tokenizer: TokenizerJson,
    *,
    n_rows: int | None,
    sentencepiece: bytes | None,
    special: Mapping[str, int],
    ends: frozenset[int],
    templates: Mapping[str, str],
) -> Terms:
    """The Hugging Face side.

    Args:
        tokenizer: tokenizer.json.
        n_rows: how many tokens the model has rows for.
        sentencepiece: tokenizer.model, where there is one.
        special: ids of tokens with a role.
        ends: ids that end an answer.
        templates: digests of chat templates by name.
    """
    n_tokens = 1 + max(tokenizer.tokens, default=-1)
    most_rows = 2 * n_tokens + _MOST_PADDING
    n_rows = max(n_tokens, n_rows if n_rows is not None and n_rows <= most_rows else 0)
    kind = _kind(tokenizer)
    adds = {
        "bos": _is_first(tokenizer, tokenizer.before, special.get("bos")),
        "eos": _is_first(tokenizer, tokenizer.after, special.get("eos")),
    }
    return Terms(
        kind=kind,
        tokens=frozenset(
            strings_digest(_texts(tokenizer, rows, with_spaces=with_spaces))
            for rows in (n_tokens, n_rows)
            for with_spaces in (False, True)
        ),
        n_tokens=n_tokens,
        merges=strings_digest(tokenizer.merges) if tokenizer.merges else "",
        scores=_scores(tokenizer, sentencepiece, n_rows) if kind == "llama" else frozenset(),
        split=split_of(tokenizer.pre_tokenizer) if _is_plain(tokenizer) else "",
        ignores_merges=bool(tokenizer.model.get("ignore_merges")),
        starts_with_space=tokenizer.starts_with_space,
        special=MappingProxyType(dict(special)),
        ends=ends,
        adds=MappingProxyType(adds),
        templates=MappingProxyType(dict(templates)),
    )


def _kind(tokenizer: TokenizerJson) -> str:
    is_bpe = tokenizer.model.get("type") == "BPE"
    steps = tokenizer.pre_tokenizer if isinstance(tokenizer.pre_tokenizer, list) else []
    if is_bpe and any(step.get("type") == "ByteLevel" for step in steps):
        return "gpt2"
    if is_bpe and tokenizer.model.get("byte_fallback") and not steps:
        return "llama"
    return str(tokenizer.model.get("type"))


def _is_plain(tokenizer: TokenizerJson) -> bool:
    """Whether a text is only split: llama.cpp knows no normalizer, and NFC is left to the text."""
    return tokenizer.normalizer in ([], [{"type": "NFC"}])


def _is_first(tokenizer: TokenizerJson, framing: tuple[str, ...], number: int | None) -> bool:
    return bool(framing) and number is not None and tokenizer.tokens.get(number) in framing


def _texts(tokenizer: TokenizerJson, n_rows: int, *, with_spaces: bool) -> Iterator[str]:
    for number in range(n_rows):
        text = tokenizer.tokens.get(number)
        if text is None:
            yield f"[PAD{number}]"
        elif with_spaces and number in tokenizer.added and number not in tokenizer.special:
            yield text.replace(SPACE, " ")
        else:
            yield text


def _scores(tokenizer: TokenizerJson, sentencepiece: bytes | None, n_rows: int) -> frozenset[str]:
    """By id: those of tokenizer.model, or those that the order of the merges amounts to."""
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
