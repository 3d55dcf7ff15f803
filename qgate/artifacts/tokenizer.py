"""Do two GGUF files turn text into the same tokens, and frame it the same way?

Compared by what the headers say, value by value; long arrays by the digest of their bytes. Three
parts, because three rows of the report rest on them: the tokenizer proper, the special tokens
with the rules that add them, and the chat template. A key that one file has and the other lacks is
a difference, although the runtime's default may be the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from qgate.artifacts.escape import printable, quoted
from qgate.artifacts.gguf import ArrayFacts, GgufHeader
from qgate.artifacts.shards import read_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.artifacts.gguf import Value
    from qgate.records import Artifact

Part = Literal["tokenizer", "special_tokens", "chat_template"]
PARTS: tuple[Part, ...] = get_args(Part)

_GGML = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_SPECIAL_ENDINGS = ("_token_id", "_token_ids", "_bos_token", "_eos_token", "_sep_token")
_SPECIAL_KEYS = frozenset({f"{_GGML}suppress_tokens"})
_FIRST = tuple(f"{_GGML}{name}" for name in ("model", "pre", "tokens", "token_type", "merges"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """What a header says of text and tokens."""

    model: str
    """`gpt2`, `llama`, ...; empty where the header has none."""
    pre: str
    """The pre-tokenizer's name; empty where the header has none."""
    n_tokens: int
    digest: str
    """`sha256:...` over the tokenizer and the special tokens; the chat template has its own."""
    parts: Mapping[Part, Mapping[str, str]]
    """Per part: key to value as shown in messages; long values as `sha256:...`."""
    digests: Mapping[Part, str]


def tokenizer_of(artifact: Artifact) -> TokenizerFacts:
    """The tokenizer that an artifact's first file carries.

    Raises:
        ArtifactError: the header cannot be read.
    """
    return tokenizer_facts(read_set(artifact.files)[0])


def tokenizer_facts(header: GgufHeader) -> TokenizerFacts:
    """Collect them from the header of an artifact's first file."""
    parts: dict[Part, dict[str, str]] = {part: {} for part in PARTS}
    for key in sorted(header.metadata, key=_reading_order):
        part = _part_of(key)
        if part is not None:
            parts[part][key] = _shown(header.metadata[key], whole=part != "chat_template")
    tokens = header.metadata.get(f"{_GGML}tokens")
    return TokenizerFacts(
        model=_text(header.metadata.get(f"{_GGML}model")),
        pre=_text(header.metadata.get(f"{_GGML}pre")),
        n_tokens=tokens.count if isinstance(tokens, ArrayFacts) else 0,
        digest=_digest([parts["tokenizer"], parts["special_tokens"]]),
        parts=MappingProxyType({name: MappingProxyType(keys) for name, keys in parts.items()}),
        digests=MappingProxyType({name: _digest(keys) for name, keys in parts.items()}),
    )


def difference(
    artifact: TokenizerFacts, reference: TokenizerFacts, part: Part | None = None
) -> str | None:
    """Name the first key that differs, with both values; None where nothing does.

    Args:
        artifact: what is compared.
        reference: what it is compared with.
        part: look at this part only.
    """
    for name in PARTS if part is None else (part,):
        ours, theirs = artifact.parts[name], reference.parts[name]
        for key in sorted(ours.keys() | theirs.keys(), key=_reading_order):
            if ours.get(key) != theirs.get(key):
                return _phrase(printable(key), ours.get(key), theirs.get(key))
    return None


def _phrase(key: str, ours: str | None, theirs: str | None) -> str:
    if ours and theirs and ours.startswith("sha256:") and theirs.startswith("sha256:"):
        return f"{key} differ ({_short(ours)} and {_short(theirs)})"
    got = "absent" if ours is None else _short(ours)
    return f"{key}: {got}, the reference has {'none' if theirs is None else _short(theirs)}"


def _short(value: str) -> str:
    """Of a digest, enough to tell two apart; other values as they are."""
    if not value.startswith("sha256:"):
        return value
    digest, _, count = value.partition(", ")
    return f"{digest[:15]}… of {count}"


def _part_of(key: str) -> Part | None:
    if key == _TEMPLATE or key.startswith((f"{_TEMPLATE}.", f"{_TEMPLATE}s")):
        return "chat_template"
    if not key.startswith(_GGML):
        return None
    is_special = key.endswith(_SPECIAL_ENDINGS) or key in _SPECIAL_KEYS
    return "special_tokens" if is_special else "tokenizer"


def _reading_order(key: str) -> tuple[int, str]:
    return (_FIRST.index(key) if key in _FIRST else len(_FIRST), key)


def _shown(value: Value, *, whole: bool) -> str:
    """The value itself where it is short, else its digest: equal exactly where the values are."""
    if isinstance(value, ArrayFacts):
        return f"{value.digest}, {value.count} {value.element_type}s"
    if isinstance(value, str):
        # what quoted() would escape or cut no longer tells two values apart
        if whole and len(value) <= 60 and value.isprintable():
            return quoted(value)
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}, {len(value)} characters"
    if isinstance(value, tuple) and len(value) > 8:
        listed = json.dumps(value).encode()
        return f"sha256:{hashlib.sha256(listed).hexdigest()}, {len(value)} numbers"
    return str(value)


def _text(value: Value | None) -> str:
    return printable(value) if isinstance(value, str) else ""


def _digest(facts: object) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"
