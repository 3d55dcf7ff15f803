"""GPTQ and AWQ with GPTQModel 7.6, on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.formats.calibration import windows
from qgate.demo.formats.directories import store_in_float16

if TYPE_CHECKING:
    from pathlib import Path

BITS = 4
GROUP = 128
AWQ_WINDOWS = 8
"""AWQ runs the calibration text 20 times through every layer to find its scales, and only in 16
bits, which takes minutes with all windows on a CPU; means of activations settle early."""
BATCH = 8


def quantize(name: str, reference: Path, target: Path) -> None:
    """Write `target` as `gptq` or `awq` of the directory `reference`."""
    if name == "gptq":
        _gptq(reference, target)
    else:
        _awq(reference, target)


def _gptq(reference: Path, target: Path) -> None:
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig

    # desc_act and sym choose the kernel: these two are what Marlin and most others serve
    config = QuantizeConfig(
        bits=BITS, group_size=GROUP, desc_act=False, sym=True, offload_to_disk=False
    )
    model = GPTQModel.load(str(reference), config, device="cpu", dtype=torch.float32)
    model.quantize(_rows(windows(reference)), batch_size=BATCH)
    model.save(str(target))
    store_in_float16(target)


def _awq(reference: Path, target: Path) -> None:
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig

    config = QuantizeConfig(
        bits=BITS,
        group_size=GROUP,
        quant_method="awq",
        format="gemm",
        sym=False,
        offload_to_disk=False,
    )
    model = GPTQModel.load(str(reference), config, device="cpu", dtype=torch.float16)
    rows = _rows(windows(reference, AWQ_WINDOWS))
    model.quantize(rows, batch_size=BATCH, backend=BACKEND.AWQ_TORCH)
    model.save(str(target))


def _rows(texts: list[list[int]]) -> list[dict[str, list[int]]]:
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in texts]
