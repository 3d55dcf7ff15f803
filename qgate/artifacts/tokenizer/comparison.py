"""Do two artifacts turn text into the same tokens, and frame it the same way?

Compared by what the files say, value by value; long arrays by the digest of their bytes. Three
parts, because three rows of the report rest on them: the tokenizer proper, the special tokens
with the rules that add them, and the chat template. Of two GGUF files, a key that one has and the
other lacks is a difference, although the runtime's default may be the same. Hugging Face
directories: `qgate.artifacts.tokenizer.hf`; across formats: `qgate.artifacts.tokenizer.terms`, and
what both runtimes make of the same texts, rules that add tokens included (`qgate.gate.token_ids`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

from qgate.artifacts.gguf.header import ArrayFacts, GgufHeader
from qgate.artifacts.gguf.shards import read_set
from qgate.artifacts.tokenizer.hf import HfTokenizer
from qgate.artifacts.tokenizer.terms import Terms, difference_in_terms, terms_of_metadata
from qgate.errors import ArtifactError
from qgate.untrusted.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.artifacts.gguf.header import Value
    from qgate.records import Artifact

Part = Literal["tokenizer", "special_tokens", "chat_template"]
PARTS: tuple[Part, ...] = get_args(Part)

_GGML = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_SPECIAL_ENDINGS = ("_token_id", "_token_ids", "_bos_token", "_eos_token", "_sep_token")
_SPECIAL_KEYS = frozenset({f"{_GGML}suppress_tokens"})
_FIRST = (
    *(f"{_GGML}{name}" for name in ("model", "pre", "tokens", "token_type", "merges")),
    *("tokens", "merges", "scores"),
)
_OPTIONAL = frozenset({"pad_token", "unk_token"})
"""Of Hugging Face directories: no difference where only one side names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """What an artifact's files say of text and tokens."""

    parts: Mapping[Part, Mapping[str, str]]
    """Per part: key to value as shown in messages; long values as `sha256:...`."""
    digests: Mapping[Part, str]
    """`sha256:...` of each part."""
    source: str
    """The kind of file: only two of the same kind can be compared value by value."""
    terms: Terms | None
    """What can be compared across kinds; None where nothing can."""


def tokenizer_of(artifact: Artifact) -> TokenizerFacts:
    """The tokenizer that an artifact carries: in its first file, or beside its weights.

    Raises:
        ArtifactError: its files cannot be read.
    """
    if artifact.format == "hf":
        try:
            return hf_tokenizer_facts(HfTokenizer(artifact.path, artifact.files))
        except RecursionError as error:
            where = printable(str(artifact.path))
            raise ArtifactError(f"{where}: its tokenizer's files are nested too deep.") from error
    return tokenizer_facts(read_set(artifact.files)[0])


def hf_tokenizer_facts(tokenizer: HfTokenizer) -> TokenizerFacts:
    """Collect them from the files of a Hugging Face directory."""
    parts: dict[Part, dict[str, str]] = {
        "tokenizer": tokenizer.tokenizer(),
        "special_tokens": tokenizer.special_tokens(),
        "chat_template": tokenizer.chat_template(),
    }
    return _facts(parts, tokenizer.terms(), source=tokenizer.source)


def tokenizer_facts(header: GgufHeader) -> TokenizerFacts:
    """Collect them from the header of an artifact's first file."""
    parts: dict[Part, dict[str, str]] = {part: {} for part in PARTS}
    for key in sorted(header.metadata, key=_reading_order):
        part = _part_of(key)
        if part is not None:
            parts[part][key] = _shown(header.metadata[key], whole=part != "chat_template")
    return _facts(parts, terms_of_metadata(header.metadata), source="gguf")


def _facts(
    parts: Mapping[Part, Mapping[str, str]], terms: Terms | None, source: str
) -> TokenizerFacts:
    return TokenizerFacts(
        parts=MappingProxyType({name: MappingProxyType(keys) for name, keys in parts.items()}),
        digests=MappingProxyType({name: _digest(keys) for name, keys in parts.items()}),
        source=source,
        terms=terms,
    )


def difference(
    artifact: TokenizerFacts, reference: TokenizerFacts, part: Part | None = None
) -> str | None:
    """Name the first key that differs, with both values; None where nothing does.

    Args:
        artifact: what is compared.
        reference: what it is compared with.
        part: look at this part only.

    Raises:
        ArtifactError: they are files of different kinds that do not say enough to compare them.
    """
    for name in PARTS if part is None else (part,):
        if artifact.source != reference.source:
            found = _difference_across(artifact, reference, name)
        else:
            found = _difference_in_keys(artifact, reference, name)
        if found is not None:
            return found
    return None


def _difference_across(
    artifact: TokenizerFacts, reference: TokenizerFacts, part: Part
) -> str | None:
    if artifact.terms is None or reference.terms is None:
        kinds = f"{artifact.source or 'no file'} and {reference.source or 'no file'}"
        raise ArtifactError(f"tokenizer: cannot be compared by files: got it in {kinds}.")
    return difference_in_terms(artifact.terms, reference.terms, part)


def _difference_in_keys(
    artifact: TokenizerFacts, reference: TokenizerFacts, part: Part
) -> str | None:
    ours, theirs = artifact.parts[part], reference.parts[part]
    for key in sorted(ours.keys() | theirs.keys(), key=_reading_order):
        if key in _OPTIONAL and not (key in ours and key in theirs):
            continue
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
        return printable(value)
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


def _digest(facts: object) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}"
