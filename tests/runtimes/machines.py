"""Machines, and what a runtime is chosen for on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qgate.records import Artifact
from qgate.runtimes.selection import Machine

if TYPE_CHECKING:
    from qgate.runtimes.selection import Choice

EVERYTHING = frozenset({"llama_cpp", "transformers", "vllm"})
WITHOUT_VLLM = EVERYTHING - {"vllm"}
GPU, CPU = Machine(has_gpu=True, installed=EVERYTHING), Machine(has_gpu=False, installed=EVERYTHING)
GPU_WITHOUT_VLLM = Machine(has_gpu=True, installed=WITHOUT_VLLM)
CPU_WITHOUT_VLLM = Machine(has_gpu=False, installed=WITHOUT_VLLM)
BARE = Machine(has_gpu=False, installed=frozenset())


def gguf(format: Literal["gguf", "hf"] = "gguf") -> Artifact:
    path = Path("models/llama-Q4_K_M.gguf")
    return Artifact(
        id="llama-Q4_K_M",
        path=path,
        format=format,
        scheme="Q4_K_M",
        size_bytes=1,
        files=(path,),
        is_quantized=True,
    )


def named(choice: Choice) -> tuple[str, str]:
    return choice.name, choice.reason
