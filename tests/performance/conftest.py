"""Llama-architecture GGUF files of any size with random weights: for costs, not for quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a random model; tied embeddings are not used, as in Llama-3-8B."""

    width: int
    layers: int
    feed_forward: int
    vocabulary: int
    seed: int = 0
    noise: float = 0.0
    """Standard deviation of noise added to every matrix: a stand-in for quantization."""

    @property
    def heads(self) -> int:
        return self.width // 64


@pytest.fixture(scope="session")
def random_llama() -> Callable[..., Path]:
    """random_llama(path, width=..., layers=..., feed_forward=..., vocabulary=...) -> path."""
    pytest.importorskip("gguf", reason="random models are written with the gguf package")
    return lambda path, **shape: _write(path, Shape(**shape))


def _write(path: Path, shape: Shape) -> Path:
    """Write the model as F16 with a sentencepiece-like vocabulary of bytes and made-up words."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(4096)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(max(shape.heads // 2, 1))
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(64)
    writer.add_vocab_size(shape.vocabulary)
    _add_vocabulary(writer, shape.vocabulary)
    _add_tensors(writer, shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: Any, size: int) -> None:
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    letters = "etaoinshrdlcumwfgypbvk"
    tokens += ["▁"] + [first + second for first in "▁" + letters for second in letters]
    tokens += [f"▁word{number}" for number in range(size - len(tokens))]
    kinds += [1] * (size - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(rank) for rank in range(size)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)


def _add_tensors(writer: Any, shape: Shape) -> None:
    rng = np.random.default_rng(shape.seed)
    disturb = np.random.default_rng(shape.seed + 1)
    width, half, wide = shape.width, max(shape.heads // 2, 1) * 64, shape.feed_forward

    def matrix(name: str, rows: int, columns: int, scale: float) -> None:
        values = rng.normal(0.0, scale / np.sqrt(columns), (rows, columns))
        if shape.noise:
            values += disturb.normal(0.0, shape.noise * scale / np.sqrt(columns), values.shape)
        writer.add_tensor(name, values.astype(np.float16))

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(width, dtype=np.float32))

    matrix("token_embd.weight", shape.vocabulary, width, 1.0)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm.weight")
        matrix(f"{block}.attn_q.weight", width, width, 1.0)
        matrix(f"{block}.attn_k.weight", half, width, 1.0)
        matrix(f"{block}.attn_v.weight", half, width, 1.0)
        matrix(f"{block}.attn_output.weight", width, width, 1.0)
        norm(f"{block}.ffn_norm.weight")
        matrix(f"{block}.ffn_gate.weight", wide, width, 1.0)
        matrix(f"{block}.ffn_up.weight", wide, width, 1.0)
        matrix(f"{block}.ffn_down.weight", width, wide, 1.0)
    norm("output_norm.weight")
    matrix("output.weight", shape.vocabulary, width, 3.0)
