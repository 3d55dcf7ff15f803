"""compressed-tensors with llm-compressor 0.14, on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.formats.calibration import WINDOW_TOKENS, WINDOWS, windows
from qgate.demo.formats.directories import store_in_float16

if TYPE_CHECKING:
    from pathlib import Path


def quantize(name: str, reference: Path, target: Path) -> None:
    """Write `target` as `w4a16`, `w8a8` or `fp8` of the directory `reference`.

    Only the first is calibrated: W8A8 and FP8 scale activations while they run, and round weights
    to the nearest.
    """
    if name == "w4a16":
        _calibrated(reference, target)
    else:
        _rounded(reference, target, {"w8a8": "W8A8", "fp8": "FP8_DYNAMIC"}[name])


def _calibrated(reference: Path, target: Path) -> None:
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM

    texts = windows(reference)
    rows = {"input_ids": texts, "attention_mask": [[1] * len(ids) for ids in texts]}
    model = AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float32)
    oneshot(
        model=model,
        recipe=GPTQModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"]),
        dataset=Dataset.from_dict(rows),
        max_seq_length=WINDOW_TOKENS,
        num_calibration_samples=WINDOWS,
        batch_size=8,
    )
    model.save_pretrained(target, save_compressed=True)
    store_in_float16(target)


def _rounded(reference: Path, target: Path, scheme: str) -> None:
    import torch
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float16)
    oneshot(
        model=model,
        recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]),
    )
    model.save_pretrained(target, save_compressed=True)
