"""Where a reference's unquantized output matrix lies in its own files: read there, never copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.artifacts.gguf.header import read_header
from qgate.artifacts.hf.weights import read_weights
from qgate.runtimes.worker.reference_logits import UNQUANTIZED_TYPES, MatrixPlace, identify
from qgate.untrusted.json import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.artifacts.hf.safetensors import StoredTensor
    from qgate.records import Artifact
    from qgate.runtimes.base import ModelFacts

_HEAD = "lm_head.weight"
_EMBEDDINGS = (
    "model.embed_tokens.weight",
    "language_model.model.embed_tokens.weight",
    "model.language_model.embed_tokens.weight",
    "transformer.wte.weight",
)


def find_output_matrix(artifact: Artifact, facts: ModelFacts) -> MatrixPlace | None:
    """Where the reference's unquantized output matrix lies; None where it has none."""
    if artifact.format == "hf":
        return _in_directory(artifact, facts)
    tensors = {
        tensor.name: (path, tensor)
        for path in artifact.files
        for tensor in read_header(path).tensors
    }
    name = "output.weight" if "output.weight" in tensors else "token_embd.weight"  # tied
    if name not in tensors:
        return None
    path, tensor = tensors[name]
    if tensor.shape != (facts.width, facts.n_vocab) or tensor.type_name not in UNQUANTIZED_TYPES:
        return None
    return MatrixPlace(
        path=str(path.resolve()),
        offset=tensor.offset,
        n_vocab=facts.n_vocab,
        width=tensor.shape[0],
        type_name=tensor.type_name,
        file=identify(path.stat()),
    )


def _in_directory(artifact: Artifact, facts: ModelFacts) -> MatrixPlace | None:
    headers = read_weights(artifact.path)
    tensors = {tensor.name: (header, tensor) for header in headers for tensor in header.tensors}
    name = _output_name(
        {name: tensor for name, (_, tensor) in tensors.items()},
        read_object(artifact.path / "config.json"),
    )
    if name is None:
        return None
    header, tensor = tensors[name]
    if tensor.shape != (facts.n_vocab, facts.width) or tensor.dtype not in UNQUANTIZED_TYPES:
        return None
    return MatrixPlace(
        path=str(header.path.resolve()),
        offset=tensor.offset,
        n_vocab=facts.n_vocab,
        width=tensor.shape[1],
        type_name=tensor.dtype,
        file=identify(header.path.stat()),
    )


def _output_name(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> str | None:
    """`lm_head`, or the embedding where the two are tied: said so, or there is no other."""
    nested = config.get("text_config")
    places = (config, nested if isinstance(nested, dict) else {})
    tied = next((p["tie_word_embeddings"] for p in places if "tie_word_embeddings" in p), None)
    embedding = next((name for name in _EMBEDDINGS if name in tensors), None)
    if tied is not True and _HEAD in tensors:
        return _HEAD
    return None if tied is False else embedding
