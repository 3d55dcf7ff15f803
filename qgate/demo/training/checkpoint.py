"""Reading and writing the model's own files, as a Hugging Face directory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qgate.demo.training.tokenizer import BOS, EOS, PAD, TURN_END

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from qgate.demo.training.llama import Shape


def save_weights(weights: dict[str, Tensor], directory: Path) -> None:
    """Write ``model.safetensors`` in float16, replacing it at once."""
    import torch
    from safetensors.torch import save_file

    half = {name: weight.detach().to(torch.float16) for name, weight in weights.items()}
    new = directory / "model.safetensors.new"
    save_file(half, new, metadata={"format": "pt"})
    new.replace(directory / "model.safetensors")


def load_weights(directory: Path) -> dict[str, Tensor]:
    """Read ``model.safetensors`` as float32 weights to train."""
    from safetensors.torch import load_file

    half = load_file(directory / "model.safetensors")
    return {name: weight.float().requires_grad_() for name, weight in half.items()}


def save_settings(shape: Shape, tokenizer: Any, directory: Path) -> None:  # noqa: ANN401
    """Write ``config.json`` and ``generation_config.json``."""
    bos, eos, pad, turn = (tokenizer.token_to_id(name) for name in (BOS, EOS, PAD, TURN_END))
    generation = {
        "bos_token_id": bos,
        "eos_token_id": [eos, turn],
        "pad_token_id": pad,
        "do_sample": False,
        "max_length": shape.context,
    }
    for name, content in (
        ("config.json", shape.config(bos, eos, pad)),
        ("generation_config.json", generation),
    ):
        text = json.dumps(content, indent=2) + "\n"
        (directory / name).write_text(text, encoding="utf-8")
