"""A Llama in plain torch, as small as training needs, with the names of a Hugging Face file.

Same layout and arithmetic as transformers' ``LlamaForCausalLM``: RMSNorm before attention and
feed-forward, rotary positions in the half-split convention, grouped-query attention, SwiGLU,
tied embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the model; widths are multiples of 256 so that K-quants apply everywhere."""

    vocabulary: int = 1792
    hidden: int = 256
    feed_forward: int = 768
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 64
    context: int = 512
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    def config(self, bos: int, eos: int, pad: int) -> dict[str, object]:
        """Return the content of ``config.json``."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "max_position_embeddings": self.context,
            "rope_theta": self.rope_base,
            "rms_norm_eps": self.epsilon,
            "hidden_act": "silu",
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "tie_word_embeddings": True,
            "initializer_range": 0.02,
            "use_cache": True,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "torch_dtype": "float16",
        }


def untrained(shape: Shape) -> dict[str, Tensor]:
    """Return random weights by their names in a Hugging Face file."""
    import torch

    wide, narrow = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    matrices = {
        "self_attn.q_proj": (wide, shape.hidden),
        "self_attn.k_proj": (narrow, shape.hidden),
        "self_attn.v_proj": (narrow, shape.hidden),
        "self_attn.o_proj": (shape.hidden, wide),
        "mlp.gate_proj": (shape.feed_forward, shape.hidden),
        "mlp.up_proj": (shape.feed_forward, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.feed_forward),
    }
    weights = {"model.embed_tokens.weight": torch.randn(shape.vocabulary, shape.hidden) * 0.02}
    for layer in range(shape.layers):
        start = f"model.layers.{layer}"
        for name, size in matrices.items():
            deep = name.endswith(("o_proj", "down_proj"))
            scale = 0.02 / (2 * shape.layers) ** (0.5 if deep else 0.0)
            weights[f"{start}.{name}.weight"] = torch.randn(size) * scale
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{start}.{name}.weight"] = torch.ones(shape.hidden)
    weights["model.norm.weight"] = torch.ones(shape.hidden)
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def rotary(shape: Shape, time: int) -> tuple[Tensor, Tensor]:
    """Return cosine and sine, shape (time, head_size), halves repeated."""
    import torch

    steps = torch.arange(0, shape.head_size, 2, dtype=torch.float32) / shape.head_size
    angles = torch.outer(torch.arange(time, dtype=torch.float32), shape.rope_base**-steps)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Return queries or keys, shape (batch, heads, time, head_size), turned by position."""
    import torch

    left, right = x.chunk(2, dim=-1)
    turned: Tensor = x * turn[0] + torch.cat((-right, left), dim=-1) * turn[1]
    return turned.to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Return attention, shape (batch, heads, time, head_size), masked or just causal."""
    from torch.nn import functional

    if mask is None:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    # Plain products: with a mask, torch's fused kernel is several times slower on a CPU.
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + mask
    mixed: Tensor = scores.softmax(-1) @ v
    return mixed


class Llama:
    """The model as a function of its weights."""

    def __init__(self, shape: Shape, weights: dict[str, Tensor]) -> None:
        self.shape = shape
        self.weights = weights

    def __call__(
        self, ids: Tensor, mask: Tensor | None = None, keep: Tensor | None = None
    ) -> Tensor:
        """Return logits.

        Args:
            ids: shape (batch, time).
            mask: added to attention scores, shape (batch, 1, time, time); default: causal.
            keep: the positions to return logits of, shape (batch, time); default: all.
        """
        from torch.nn import functional

        embedding = self.weights["model.embed_tokens.weight"]
        x = functional.embedding(ids, embedding)
        turn = rotary(self.shape, ids.shape[1])
        for layer in range(self.shape.layers):
            start = f"model.layers.{layer}"
            x = x + self._attention(start, self._norm(f"{start}.input_layernorm", x), turn, mask)
            x = x + self._mlp(start, self._norm(f"{start}.post_attention_layernorm", x))
        x = x if keep is None else x[keep]
        return functional.linear(self._norm("model.norm", x), embedding)

    def _norm(self, name: str, x: Tensor) -> Tensor:
        from torch.nn import functional

        weight = self.weights[f"{name}.weight"]
        return functional.rms_norm(x, (self.shape.hidden,), weight, self.shape.epsilon)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.linear(x, self.weights[f"{name}.weight"])

    def _attention(
        self, start: str, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        batch, time, _ = x.shape
        split = (batch, time, -1, self.shape.head_size)
        q, k, v = (
            self._linear(f"{start}.self_attn.{part}_proj", x).view(split).transpose(1, 2)
            for part in "qkv"
        )
        repeat = self.shape.heads // self.shape.kv_heads
        k, v = (part.repeat_interleave(repeat, dim=1) for part in (rotate(k, turn), v))
        mixed = attend(rotate(q, turn), k, v, mask)
        return self._linear(
            f"{start}.self_attn.o_proj", mixed.transpose(1, 2).reshape(batch, time, -1)
        )

    def _mlp(self, start: str, x: Tensor) -> Tensor:
        from torch.nn import functional

        gate = functional.silu(self._linear(f"{start}.mlp.gate_proj", x))
        return self._linear(
            f"{start}.mlp.down_proj", gate * self._linear(f"{start}.mlp.up_proj", x)
        )
