"""The model and its own files, as a Hugging Face directory: a Llama of transformers'."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qgate.demo.training.tokenizer import BOS, EOS, PAD, TURN_END, VOCABULARY

if TYPE_CHECKING:
    from pathlib import Path

CONTEXT = 512
_LAYERS = 4
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    # widths are multiples of 256 so that K-quants apply everywhere
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": CONTEXT,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "use_cache": True,
}
_ATTENTION = "eager"
"""Plain products: with a mask, torch's fused kernel is several times slower on a CPU."""


def untrained() -> Any:  # noqa: ANN401 - transformers' model
    """Return a model of random weights, smaller ones where a layer adds to what it was given."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**_CONFIG, attn_implementation=_ATTENTION))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight *= (2 * _LAYERS) ** -0.5
    return model


def load(directory: Path) -> Any:  # noqa: ANN401 - transformers' model
    """Return the model of a directory with float32 weights to train."""
    import torch
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation=_ATTENTION
    )


def save_weights(model: Any, directory: Path) -> None:  # noqa: ANN401 - transformers' model
    """Write ``model.safetensors`` in float16, replacing it at once."""
    import torch
    from safetensors.torch import save_file

    half = {name: weight.detach().to(torch.float16) for name, weight in model.named_parameters()}
    new = directory / "model.safetensors.new"
    save_file(half, new, metadata={"format": "pt"})
    new.replace(directory / "model.safetensors")


def save_settings(tokenizer: Any, directory: Path) -> None:  # noqa: ANN401
    bos, eos, pad, turn = (tokenizer.token_to_id(name) for name in (BOS, EOS, PAD, TURN_END))
    ids = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}
    generation = {
        **ids,
        "eos_token_id": [eos, turn],
        "do_sample": False,
        "max_length": CONTEXT,
    }
    for name, content in (
        ("config.json", {**_CONFIG, **ids, "torch_dtype": "float16"}),
        ("generation_config.json", generation),
    ):
        text = json.dumps(content, indent=2) + "\n"
        (directory / name).write_text(text, encoding="utf-8")
