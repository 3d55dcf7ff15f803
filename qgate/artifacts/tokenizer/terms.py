"""What a GGUF file and a Hugging Face directory both say of one tokenizer, in common terms.

That is the list of tokens by id, the order in which they are merged, the ids with a role and the
chat templates. How a text is split before, and which tokens are put before and after it, is said in
other words in each: there both runtimes encode the same texts, and their ids are compared
(`qgate.gate.token_ids`). Where the order of merges is a list in one and scores in the other,
nothing is compared and that is an error: texts alone use too few merges to tell.

A GGUF header is read with its long arrays hashed (`qgate.artifacts.gguf.header`), so the list is
compared by the digest that the other side's would have in such a file. llama.cpp's converter
(convert_hf_to_gguf.py, gguf-py's vocab.py) names ids beyond the vocabulary [PAD<id>]; ▁ in added
tokens is written as a space by some versions and not by others, so both are right.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from qgate.artifacts.gguf.header import ArrayFacts
from qgate.artifacts.tokenizer.hf_json import SPACE
from qgate.artifacts.tokenizer.scores import floats_digest, scores_of
from qgate.errors import ArtifactError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qgate.artifacts.gguf.header import Value
    from qgate.artifacts.tokenizer.hf_json import TokenizerJson

_GGML = "tokenizer.ggml."
_IDS: Mapping[str, str] = MappingProxyType(
    {"bos": "bos_token_id", "eos": "eos_token_id", "pad": "padding_token_id"}
)
_MOST_PADDING = 65_536
"""Rows without a token beyond one for each that there is: more is no padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One side."""

    tokens: frozenset[str]
    """Digests of the list by id; the Hugging Face side has one for each way to write it."""
    n_tokens: int
    merges: str = ""
    """Digest of the list; empty where there is none."""
    scores: frozenset[str] = frozenset()
    """Digests of the list by id; empty where there is none."""
    special: Mapping[str, int] = field(default_factory=dict)
    """`bos`, `eos`, `pad`."""
    ends: frozenset[int] = frozenset()
    """Tokens that end an answer, as far as the files name them."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Digests of chat templates by name; `default` is the one in use."""


def terms_of_metadata(metadata: Mapping[str, Value]) -> Terms:
    """The GGUF side."""
    tokens, merges, scores = (
        metadata.get(f"{_GGML}{key}") for key in ("tokens", "merges", "scores")
    )
    ids = {name: metadata.get(f"{_GGML}{key}") for name, key in _IDS.items()}
    ends = (metadata.get(f"{_GGML}{name}_token_id") for name in ("eos", "eot", "eom"))
    return Terms(
        tokens=frozenset({array_digest(tokens, "string")}),
        n_tokens=_count(tokens),
        merges=array_digest(merges, "string") if merges is not None else "",
        scores=frozenset({array_digest(scores, "float32")}) if scores is not None else frozenset(),
        special=MappingProxyType({key: one for key, one in ids.items() if type(one) is int}),
        ends=frozenset(one for one in ends if type(one) is int),
        templates=MappingProxyType(_templates(metadata)),
    )


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
    return Terms(
        tokens=frozenset(
            strings_digest(_texts(tokenizer, rows, with_spaces=with_spaces))
            for rows in (n_tokens, n_rows)
            for with_spaces in (False, True)
        ),
        n_tokens=n_tokens,
        merges=strings_digest(tokenizer.merges) if tokenizer.merges else "",
        scores=scores_of(tokenizer, sentencepiece, n_rows),
        special=MappingProxyType(dict(special)),
        ends=ends,
        templates=MappingProxyType(dict(templates)),
    )


def _texts(tokenizer: TokenizerJson, n_rows: int, *, with_spaces: bool) -> Iterator[str]:
    for number in range(n_rows):
        text = tokenizer.tokens.get(number)
        if text is None:
            yield f"[PAD{number}]"
        elif with_spaces and number in tokenizer.added and number not in tokenizer.special:
            yield text.replace(SPACE, " ")
        else:
            yield text


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
    if ours.merges and theirs.merges:
        return None if ours.merges == theirs.merges else "merges differ"
    if not ours.scores or not theirs.scores:
        raise _incomparable("the order of merges is a list in one and scores in the other")
    if not ours.scores & theirs.scores:
        return "scores of tokens differ"
    return None


def _special_difference(ours: Terms, theirs: Terms) -> str | None:
    for name in _IDS:
        if name in ours.special and name in theirs.special:
            got, expected = ours.special[name], theirs.special[name]
            if got != expected:
                return f"{name} token: {got}, the reference has {expected}"
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
