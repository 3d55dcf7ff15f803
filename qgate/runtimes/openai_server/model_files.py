"""What the files of the model on this disk say, where its server does not.

An artifact that is gated lies here too; what it says and what the server says has to agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.artifacts.gguf.header import ArrayFacts, read_header
from qgate.errors import ArtifactError
from qgate.untrusted.json import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """Facts of a model; None and empty where nobody tells."""

    n_vocab: int | None = None
    context_tokens: int | None = None
    bos: int | None = None
    end_tokens: tuple[int, ...] = ()
    width: int | None = None
    n_params: int | None = None


def known_from(path: Path) -> ServerFacts:
    """Of a GGUF file or of a Hugging Face directory; nothing where there is neither.

    Raises:
        ArtifactError: the header of the GGUF file cannot be read.
    """
    if path.is_file():
        return _from_gguf(read_header(path).metadata)
    config = {**_read_object(path / "config.json"), **_read_object(path / "generation_config.json")}
    inner = config.get("text_config")  # of models that see as well
    model = {**config, **inner} if isinstance(inner, dict) else config
    ends = config.get("eos_token_id", model.get("eos_token_id"))
    listed = ends if isinstance(ends, list) else [ends]
    return ServerFacts(
        n_vocab=_count(model.get("vocab_size")),
        context_tokens=_count(model.get("max_position_embeddings")),
        bos=_count(model.get("bos_token_id")),
        end_tokens=tuple(sorted({end for end in map(_count, listed) if end is not None})),
        width=_count(model.get("hidden_size")),
    )


def _from_gguf(metadata: Mapping[str, Any]) -> ServerFacts:
    tokens = metadata.get("tokenizer.ggml.tokens")
    family = metadata.get("general.architecture")
    ends = {_count(metadata.get(key)) for key in _ENDS}
    return ServerFacts(
        n_vocab=tokens.count if isinstance(tokens, ArrayFacts) else None,
        context_tokens=_count(metadata.get(f"{family}.context_length")),
        bos=_count(metadata.get("tokenizer.ggml.bos_token_id")),
        end_tokens=tuple(sorted(end for end in ends if end is not None)),
        width=_count(metadata.get(f"{family}.embedding_length")),
    )


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON file; empty where there is none that can be read."""
    try:
        return read_object(path)
    except ArtifactError:
        return {}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
