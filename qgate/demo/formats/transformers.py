"""bitsandbytes and torchao as transformers 5.17 saves them, on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def quantize(name: str, reference: Path, target: Path) -> None:
    """Write `target` as `nf4`, `nf4-double`, `int8` or `torchao` of the directory `reference`."""
    import torch
    from transformers import AutoModelForCausalLM

    # torchao multiplies by the integers first and by their scale afterwards: beyond what float16
    # can hold, and every logit becomes NaN
    dtype = torch.bfloat16 if name == "torchao" else torch.float16
    model = AutoModelForCausalLM.from_pretrained(
        reference,
        quantization_config=_config(name),
        dtype=dtype,
        device_map="cpu",
        local_files_only=True,
        use_safetensors=True,
    )
    model.save_pretrained(target)


def _config(name: str) -> Any:  # noqa: ANN401 - of the library
    import torch
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if name == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if name == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=name == "nf4-double",
        bnb_4bit_compute_dtype=torch.float16,
    )
