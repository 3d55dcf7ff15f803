"""tokenizer.json, reduced to what decides which ids a text becomes and which text ids become.

The same tokenizer is written in many ways: by version of the library, and by transformers when it
saves what it loaded. Left out or made equal here: order of keys, settings at their defaults,
offsets, truncation and padding, how pairs of texts are joined, and for SentencePiece models whether
the leading ▁ is the normalizer's or the pre-tokenizer's (transformers 5 turns one into the other).

Format: https://huggingface.co/docs/tokenizers
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.errors import ArtifactError
from qgate.untrusted.json import read_object
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MOST_BYTES = 100_000_000
_MOST_MARKS = 1 << 22
"""A vocabulary of 262,144 with 514,906 merges as pairs has 2.4 million."""
_MOST_GAPS = 65_536
"""Ids without a token beyond one for each that there is."""
SPACE = "▁"
_MODEL_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
)
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerJson:
    """One tokenizer, however it is written."""

    tokens: Mapping[int, str]
    """By id, added ones included."""
    merges: tuple[str, ...]
    """`left right`, first ones first; a space within a part as Ġ."""
    scores: tuple[float, ...]
    """Of a unigram model, by id."""
    model: Mapping[str, Any]
    """Its type and the settings that are not at their defaults."""
    added: Mapping[int, Mapping[str, bool]]
    """How each added token is matched in a text."""
    special: frozenset[int]
    """Added tokens that are no text."""
    normalizer: Any
    pre_tokenizer: Any
    decoder: Any
    starts_with_space: bool
    """Whether a text gets a leading ▁."""
    before: tuple[str, ...]
    """Tokens put before a text."""
    after: tuple[str, ...]


def read_tokenizer_json(path: Path, config: Mapping[str, Any]) -> TokenizerJson:
    """Read one.

    Args:
        path: tokenizer.json.
        config: tokenizer_config.json, whose added tokens win over the file's.

    Raises:
        ArtifactError: unreadable, or not of this format.
    """
    content = read_object(path, _MOST_BYTES, _MOST_MARKS)
    try:
        return _tokenizer(content, config)
    except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
        problem = f"not a tokenizer.json: {type(error).__name__} in its structure"
        raise ArtifactError(f"{printable(str(path))}: {problem}. Download it again.") from error


def _tokenizer(content: dict[str, Any], config: Mapping[str, Any]) -> TokenizerJson:
    model = content["model"]
    tokens, scores = _vocabulary(model["vocab"])
    added: dict[int, Mapping[str, bool]] = {}
    special = set()
    for number, token in _added(content, config):
        tokens[number] = str(token["content"])
        added[number] = {flag: bool(token.get(flag)) for flag in _FLAGS}
        if token.get("special"):
            special.add(number)
    if max(tokens, default=0) > 2 * len(tokens) + _MOST_GAPS:
        raise ValueError("an id far beyond the others")
    normalizer, pre_tokenizer, has_space = _splitting(content, config)
    before, after = _framing(content.get("post_processor"))
    return TokenizerJson(
        tokens=MappingProxyType(dict(sorted(tokens.items()))),
        merges=tuple(map(_merge, model.get("merges") or ())),
        scores=scores,
        model=MappingProxyType(_model_settings(model, tokens)),
        added=MappingProxyType(dict(sorted(added.items()))),
        special=frozenset(special),
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        decoder=_without_offsets(content.get("decoder")),
        starts_with_space=has_space,
        before=before,
        after=after,
    )


def _vocabulary(vocab: Any) -> tuple[dict[int, str], tuple[float, ...]]:  # noqa: ANN401 - JSON
    if isinstance(vocab, list):
        pieces = [(str(piece), float(score)) for piece, score in vocab]
        return dict(enumerate(text for text, _ in pieces)), tuple(score for _, score in pieces)
    tokens: dict[int, str] = {}
    for text, number in vocab.items():
        if _id(number) in tokens:
            raise ValueError("one id for two tokens")
        tokens[number] = text
    return tokens, ()


def _id(number: Any) -> int:  # noqa: ANN401 - JSON
    if type(number) is not int or number < 0:
        raise ValueError("not an id")
    return number


def _added(content: dict[str, Any], config: Mapping[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    known = {_id(token["id"]): dict(token) for token in content.get("added_tokens") or ()}
    for number, token in (config.get("added_tokens_decoder") or {}).items():
        here = _id(int(number))
        known[here] = {**known.get(here, {}), **token}
    return sorted(known.items())


def _merge(merge: Any) -> str:  # noqa: ANN401 - JSON
    """As text: the form of files before 2024, and of GGUF."""
    if isinstance(merge, str):
        return merge
    left, right = merge
    return f"{left.replace(' ', 'Ġ')} {right.replace(' ', 'Ġ')}"


def _model_settings(model: Mapping[str, Any], tokens: Mapping[int, str]) -> dict[str, Any]:
    left_out = {"vocab", "merges"}
    if model.get("byte_fallback") and {f"<0x{n:02X}>" for n in range(256)} <= {*tokens.values()}:
        left_out |= {"unk_token", "fuse_unk"}  # nothing is ever unknown
    said = {key: value for key, value in model.items() if key not in left_out}
    said.setdefault("type", "BPE")
    return {
        key: said[key]
        for key in sorted(said)
        if key not in _MODEL_DEFAULTS or (said[key] or None) != (_MODEL_DEFAULTS[key] or None)
    }


def _steps(step: Any, inner: str) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
    """A sequence's steps, sequences within sequences opened."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [one for part in step[inner] for one in _steps(part, inner)]
    return [step]


def _splitting(content: dict[str, Any], config: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    """Normalizer and pre-tokenizer without what gives a text its leading ▁, and whether it does."""
    normalizers = _steps(content.get("normalizer"), "normalizers")
    pre_tokenizers = _steps(content.get("pre_tokenizer"), "pretokenizers")
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepends = {"type": "Prepend", "prepend": SPACE}
    is_space = prepends in normalizers
    rest = [step for step in normalizers if step not in (replaces, prepends)]
    kept = []
    for step in pre_tokenizers:
        if step["type"] == "Metaspace" and step.get("split") is False:
            is_space = is_space or step.get("prepend_scheme", "always") != "never"
        elif step["type"] == "ByteLevel" and isinstance(config.get("add_prefix_space"), bool):
            kept.append({**step, "add_prefix_space": config["add_prefix_space"]})
        else:
            kept.append(step)
    is_sentencepiece = len(rest) < len(normalizers) or len(kept) < len(pre_tokenizers)
    rest += [{"type": "Metaspace"}] if is_sentencepiece else []
    return _without_offsets(rest), _without_offsets(kept), is_space


def _without_offsets(steps: Any) -> Any:  # noqa: ANN401 - JSON
    """Steps without what does not change ids or text."""
    if isinstance(steps, list):
        return [_without_offsets(step) for step in steps]
    if not isinstance(steps, dict):
        return steps
    if steps.get("type") == "ByteLevel" and "use_regex" not in steps:
        steps = {**steps, "use_regex": True}
    kept = {key: _without_offsets(value) for key, value in steps.items() if key != "trim_offsets"}
    return dict(sorted(kept.items()))


def decoding(tokenizer: TokenizerJson) -> str:
    """Its decoder; ByteLevel has settings that decoding does not look at."""
    text = json.dumps(tokenizer.decoder, sort_keys=True)
    is_byte_level = isinstance(tokenizer.decoder, dict) and (
        tokenizer.decoder.get("type") == "ByteLevel"
    )
    return '{"type": "ByteLevel"}' if is_byte_level else text


def _framing(post_processor: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:  # noqa: ANN401 - JSON
    """The special tokens put before and after a single text."""
    before: list[str] = []
    after: list[str] = []
    for step in _steps(post_processor, "processors"):
        if step["type"] == "ByteLevel":
            continue
        if step["type"] == "TemplateProcessing":
            place = before
            for piece in step["single"]:
                if "Sequence" in piece:
                    place = after
                else:
                    place.append(str(piece["SpecialToken"]["id"]))
        elif step["type"] in ("RobertaProcessing", "BertProcessing"):
            before.append(str(step["cls"][0]))
            after.append(str(step["sep"][0]))
        else:
            raise ValueError("unknown post-processor")
    return tuple(before), tuple(after)
