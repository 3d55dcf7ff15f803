"""What a GGUF file and a Hugging Face directory both say of one tokenizer, in common terms.

A GGUF header is read with its long arrays hashed (`qgate.artifacts.gguf.header`), so lists are
compared by the digest that the other side's would have in such a file. Not everything has a
counterpart: the rule that splits a text is a regular expression in one and a name in the other, the
order of merges is a list in one and scores in the other. Where no counterpart is known, nothing is
compared and that is an error.

Names and rules: llama-vocab.cpp and gguf-py's SpecialVocab of llama.cpp, October 2026.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from qgate.artifacts.gguf.header import ArrayFacts
from qgate.errors import ArtifactError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qgate.artifacts.gguf.header import Value

_GGML = "tokenizer.ggml."
_IDS: Mapping[str, str] = MappingProxyType(
    {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}
)
_GPT2 = "gpt-2"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START = r"[^\r\n\p{L}\p{N}]?"
SPLITS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion"), _GPT2),
        **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell"), "digits"),
        **dict.fromkeys(("exaone", "minerva-7b"), "digits"),
        **dict.fromkeys(
            ("llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "dbrx", "smaug-bpe"),
            _CONTRACTIONS + r"\p{N}{1,3}" + _REST,
        ),
        **dict.fromkeys(
            ("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"),
            _CONTRACTIONS + r"\p{N}" + _REST,
        ),
        "tekken": f"{_START}{_UPPER}*{_LOWER}+|{_START}{_UPPER}+{_LOWER}*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
)
"""`tokenizer.ggml.pre` to the rule in tokenizer.json: a regular expression, or a name of ours."""
IGNORES_MERGES = frozenset({"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "tekken"})
"""Where llama.cpp takes a whole word that is a token before it looks at merges."""
_ADDS_BOS = frozenset({*IGNORES_MERGES})
"""Where llama.cpp adds it though the file does not say so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One side."""

    kind: str
    """`gpt2` for byte-level BPE, `llama` for SentencePiece's, as in GGUF; else its own word."""
    tokens: frozenset[str]
    """Digests of the list by id; the Hugging Face side has one for each way to write it."""
    n_tokens: int
    merges: str = ""
    """Digest of the list; empty where there is none."""
    scores: frozenset[str] = frozenset()
    """Digests of the list by id; empty where there is none."""
    split: str = ""
    """The rule that splits a text, as in `SPLITS`; empty where it has no name."""
    ignores_merges: bool = False
    starts_with_space: bool = False
    special: Mapping[str, int] = field(default_factory=dict)
    """`bos`, `eos`, `pad`."""
    ends: frozenset[int] = frozenset()
    """Tokens that end an answer, as far as the files name them."""
    adds: Mapping[str, bool] = field(default_factory=dict)
    """`bos`, `eos`."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Digests of chat templates by name; `default` is the one in use."""


def terms_of_metadata(metadata: Mapping[str, Value]) -> Terms:
    """The GGUF side."""
    kind, pre = (str(metadata.get(f"{_GGML}{key}", "")) for key in ("model", "pre"))
    tokens, merges, scores = (
        metadata.get(f"{_GGML}{key}") for key in ("tokens", "merges", "scores")
    )
    ids = {name: metadata.get(f"{_GGML}{key}") for name, key in _IDS.items()}
    ends = (metadata.get(f"{_GGML}{name}_token_id") for name in ("eos", "eot", "eom"))
    is_llama = kind == "llama"
    return Terms(
        kind=kind,
        tokens=frozenset({array_digest(tokens, "string")}),
        n_tokens=_count(tokens),
        merges=array_digest(merges, "string") if merges is not None else "",
        scores=frozenset({array_digest(scores, "float32")}) if scores is not None else frozenset(),
        split=SPLITS.get(pre, ""),
        ignores_merges=pre in IGNORES_MERGES,
        starts_with_space=metadata.get(f"{_GGML}add_space_prefix", is_llama) is True,
        special=MappingProxyType({key: one for key, one in ids.items() if type(one) is int}),
        ends=frozenset(one for one in ends if type(one) is int),
        adds=MappingProxyType(
            {
                "bos": metadata.get(f"{_GGML}add_bos_token", is_llama or pre in _ADDS_BOS) is True,
                "eos": metadata.get(f"{_GGML}add_eos_token", False) is True,
            }
        ),
        templates=MappingProxyType(_templates(metadata)),
    )


def _templates(metadata: Mapping[str, Value]) -> dict[str, str]:
    key = "tokenizer.chat_template"
    found = {}
    for name, value in metadata.items():
        if name == key or name.startswith(f"{key}."):
            short = name.removeprefix(key).removeprefix(".") or "default"
            found[short] = (
                text_digest(value) if isinstance(value, str) else array_digest(value, "byte")
            )
    return found


def _count(value: Value | None) -> int:
    if isinstance(value, ArrayFacts):
        return value.count
    return len(value) if isinstance(value, tuple) else 0


def array_digest(value: Value | None, element_type: Literal["string", "float32", "byte"]) -> str:
    """Of an array in a header, however long it is."""
    if isinstance(value, ArrayFacts) and value.element_type == element_type:
        return value.digest
    if isinstance(value, tuple) and element_type == "float32":
        return floats_digest(value)
    return "absent"


def text_digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def strings_digest(strings: Iterable[str]) -> str:
    """Of a list, as an array of strings in a GGUF header has it: lengths and UTF-8 bytes."""
    sha = hashlib.sha256()
    for string in strings:
        raw = string.encode("utf-8", "surrogatepass")
        sha.update(struct.pack("<Q", len(raw)) + raw)
    return f"sha256:{sha.hexdigest()}"


def floats_digest(numbers: Iterable[float]) -> str:
    """Of a list of scores; a short one is not hashed in the header, so it is here."""
    listed = [float(number) for number in numbers]
    return f"sha256:{hashlib.sha256(struct.pack(f'<{len(listed)}f', *listed)).hexdigest()}"


def difference_in_terms(artifact: Terms, reference: Terms, part: str) -> str | None:
    """Name the first difference in one part; None where there is none.

    Raises:
        ArtifactError: the files do not say enough to compare them.
    """
    compare = {
        "tokenizer": _tokenizer_difference,
        "special_tokens": _special_difference,
        "chat_template": _template_difference,
    }[part]
    return compare(artifact, reference)


def _tokenizer_difference(ours: Terms, theirs: Terms) -> str | None:
    if not ours.n_tokens or not theirs.n_tokens:
        raise _incomparable("one of the two has no list of tokens")
    if not ours.tokens & theirs.tokens:
        return f"tokens by id differ ({ours.n_tokens} and {theirs.n_tokens} of them)"
    if ours.kind != theirs.kind:
        return f"kind: {_named(ours.kind)}, the reference has {_named(theirs.kind)}"
    if ours.kind == "gpt2":
        if ours.merges != theirs.merges:
            return "merges differ"
        if not ours.split or not theirs.split:
            raise _incomparable("the rule that splits a text has no name that both know")
        if ours.split != theirs.split:
            return "the rule that splits a text before merging (pre) differs"
        if ours.ignores_merges != theirs.ignores_merges:
            return "whole words as tokens (ignore_merges) in one of them only"
    elif ours.kind == "llama":
        if not ours.scores or not theirs.scores:
            raise _incomparable("the order of merges is a list in one and scores in the other")
        if not ours.scores & theirs.scores:
            return "scores of tokens differ"
    else:
        raise _incomparable(f"tokenizers of kind {_named(ours.kind)}")
    if ours.starts_with_space != theirs.starts_with_space:
        got, expected = ours.starts_with_space, theirs.starts_with_space
        return f"a space before a text: {got}, the reference has {expected}"
    return None


def _special_difference(ours: Terms, theirs: Terms) -> str | None:
    for name in _IDS:
        if name in ours.special and name in theirs.special:
            got, expected = ours.special[name], theirs.special[name]
            if got != expected:
                return f"{name} token: {got}, the reference has {expected}"
    for name in sorted(ours.adds.keys() & theirs.adds.keys()):
        if ours.adds[name] != theirs.adds[name]:
            return f"add_{name}: {ours.adds[name]}, the reference has {theirs.adds[name]}"
    if ours.ends and theirs.ends and not (ours.ends <= theirs.ends or theirs.ends <= ours.ends):
        return f"tokens that end: {sorted(ours.ends)}, the reference has {sorted(theirs.ends)}"
    if not ours.special or not theirs.special:
        raise _incomparable("one of the two names no special token")
    return None


def _template_difference(ours: Terms, theirs: Terms) -> str | None:
    for name in sorted({*ours.templates, *theirs.templates}):
        got, expected = ours.templates.get(name), theirs.templates.get(name)
        if got != expected:
            shown = (
                "differ" if got and expected else f"only in {'this' if got else 'the reference'}"
            )
            return f"chat template {_named(name)}: {shown}"
    return None


def _named(word: str) -> str:
    return f"'{printable(word)[:60]}'"


def _incomparable(why: str) -> ArtifactError:
    return ArtifactError(
        f"tokenizer: cannot be compared by files: {why}. Name a reference of the same format with"
        " --qgate-reference PATH"
    )


def split_of(pre_tokenizer: Any) -> str:  # noqa: ANN401 - JSON
    """The rule in a tokenizer.json, as in `SPLITS`; empty where it has no name."""
    steps = pre_tokenizer if isinstance(pre_tokenizer, list) else []
    kinds = [step.get("type") for step in steps]
    if not steps or kinds[-1] != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return ""
    by_regex = bool(steps[-1].get("use_regex"))
    if kinds == ["ByteLevel"]:
        return _GPT2 if by_regex else ""
    if kinds == ["Digits", "ByteLevel"]:
        return "digits" if by_regex and steps[0].get("individual_digits") else ""
    if kinds == ["Split", "ByteLevel"] and not by_regex:
        pattern, is_plain = steps[0].get("pattern"), not steps[0].get("invert")
        isolated = is_plain and steps[0].get("behavior") == "Isolated"
        found = pattern.get("Regex", "") if isinstance(pattern, dict) and isolated else ""
        return found if found in SPLITS.values() else ""
    return ""
