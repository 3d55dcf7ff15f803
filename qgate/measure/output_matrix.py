"""Where an original's unquantized output matrix lies in its own files: read there, never copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.artifacts.gguf import read_header
from qgate.runtimes.original import UNQUANTIZED_TYPES, MatrixPlace

if TYPE_CHECKING:
    from qgate.records import Artifact
    from qgate.runtimes.base import ModelFacts


def find_output_matrix(artifact: Artifact, facts: ModelFacts) -> MatrixPlace | None:
    """Where the original's unquantized output matrix lies; None where it has none."""
    if artifact.format != "gguf":
        return None
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
        width=facts.width,
        type_name=tensor.type_name,
    )
