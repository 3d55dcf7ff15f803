"""What can be set for vLLM."""

from __future__ import annotations

from dataclasses import dataclass

from qgate.runtimes.spec import option


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmOptions:
    """Under `runtimes: {vllm: ...}`."""

    kv_cache_gib: float | None = option("Size of the KV cache, in GiB.", gt=0, unit="GiB")
