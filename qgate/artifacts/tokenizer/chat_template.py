"""The chat template that an artifact carries, as text: it is read here, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.artifacts.gguf.header import ArrayFacts
from qgate.artifacts.gguf.shards import read_set
from qgate.artifacts.tokenizer.hf import HfTokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.artifacts.gguf.header import Value
    from qgate.records import Artifact

_GGML = "tokenizer.ggml."


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatTemplate:
    """A template and the special tokens that it may name."""

    text: str
    """Jinja2."""
    bos_token: str = ""
    """Empty where the file's header does not spell it out: of a GGUF file only the first few
    tokens are read."""
    eos_token: str = ""


def chat_template_of(artifact: Artifact) -> ChatTemplate | None:
    """The default template of an artifact; None where it has none.

    Raises:
        ArtifactError: its files cannot be read.
    """
    if artifact.format == "hf":
        tokenizer = HfTokenizer(artifact.path, artifact.files)
        text = tokenizer.default_template()
        bos, eos = tokenizer.token("bos"), tokenizer.token("eos")
    else:
        metadata = read_set(artifact.files)[0].metadata
        found = metadata.get("tokenizer.chat_template")
        text = found if isinstance(found, str) else None
        bos, eos = _spelled(metadata, "bos"), _spelled(metadata, "eos")
    return ChatTemplate(text=text, bos_token=bos, eos_token=eos) if text else None


def _spelled(metadata: Mapping[str, Value], name: str) -> str:
    number = metadata.get(f"{_GGML}{name}_token_id")
    tokens = metadata.get(f"{_GGML}tokens")
    known = tokens.first if isinstance(tokens, ArrayFacts) else ()
    return known[number] if type(number) is int and number < len(known) else ""
