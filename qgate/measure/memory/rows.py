"""What serving an artifact takes of memory, beside its reference, and whether it grows.

    memory.weights   bytes of the loaded weights / the reference's
    memory.kv_cache  bytes of the KV cache a token / what the model's dimensions make in 16 bits
    memory.peak      bytes with a full context / the reference's
    memory.growth    bytes that each further identical request takes (`qgate.stats.slope`)
    memory.fits      GiB of weights, scratch and the KV cache of all sequences of a context

The peak is what the library allocates to serve one sequence to the end of its context: weights, KV
cache and scratch, by its own account. It repeats to the byte, and it is the model's: the resident
set has the interpreter in it (some 35 MB here) and depends on the page cache, as weights are mapped
from the file; the proportional set shrinks while others map the same file. Both are reported beside
it, and contradict an account that leaves out something big. On a GPU the peak is what NVML sees
(`qgate.measure.memory.nvml`).

Agrees with `llama-bench -v` and llama-server's log, whose numbers these are, so far as they go:
sizes are logged in hundredths of a MiB, which is 1 % of a KV cache of half a MiB. Weights that
llama.cpp repacks for the processor count twice, mapped and repacked, as it allocates both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.gguf.shards import read_set
from qgate.errors import MeasurementError
from qgate.measure.memory.footprint import (
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    Footprint,
    Growth,
    measure_footprint,
    measure_growth,
)
from qgate.measure.memory.kv_cache import kv_bytes_per_token, kv_bytes_per_token_hf
from qgate.records import Estimate
from qgate.untrusted.json import read_object

if TYPE_CHECKING:
    from qgate.records import Artifact

__all__ = ["ROWS", "Footprint", "Growth", "MemorySamples", "measure_footprint", "measure_growth"]

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySamples:
    """Both sides' footprints, the artifact's growth and what its header says."""

    artifact: Footprint
    reference: Footprint
    growth: Growth
    header_kv_bytes_per_token: int | None
    """None where the header does not tell; `header_problem` says why."""
    header_problem: str = ""

    @classmethod
    def of(
        cls, artifact: Artifact, own: Footprint, reference: Footprint, growth: Growth
    ) -> MemorySamples:
        """From what was measured and the artifact's header."""
        per_token, problem = None, ""
        try:
            per_token = _header_kv_bytes_per_token(artifact)
        except MeasurementError as error:
            problem = str(error)
        return cls(
            artifact=own,
            reference=reference,
            growth=growth,
            header_kv_bytes_per_token=per_token,
            header_problem=problem,
        )

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        """The row's number; exact, but for `memory.growth`.

        Args:
            check: one of `memory.*`.
            level: coverage of the interval.
            parameters: of `memory.fits`: `context`, `sequences`, `is_vram`.

        Raises:
            MeasurementError: this model or this runtime has no such number.
        """
        return ROWS[check](self, level, parameters)

    def details(self, check: str) -> dict[str, Any]:
        """What stands behind the number."""
        both = {"artifact": self.artifact.to_json(), "reference": self.reference.to_json()}
        if check == "memory.growth":
            return {
                "batches": len(self.growth.bytes),
                "warmup_batches": self.growth.warmup_batches,
                "prompt_tokens": PROMPT_TOKENS,
                "output_tokens": OUTPUT_TOKENS,
                "anonymous_bytes": self.growth.bytes.tolist(),
                **self.growth.details(),
            }
        if check == "memory.kv_cache":
            return {
                "measured_bytes_per_token": self.artifact.kv_bytes_per_token,
                "header_bytes_per_token": self.header_kv_bytes_per_token,
                **both,
            }
        if check == "memory.fits":
            return {
                "kv_cache_bytes_per_token": self.artifact.kv_bytes_per_token,
                "scratch": "taken to grow with the tokens beyond those that it was measured at",
                "artifact": both["artifact"],
            }
        return both

    def headline(self) -> dict[str, float]:
        """The artifact's, for a table of artifacts."""
        return _headline(self.artifact)

    def reference_headline(self) -> dict[str, float]:
        return _headline(self.reference)


def _header_kv_bytes_per_token(artifact: Artifact) -> int:
    if artifact.format == "hf":
        return kv_bytes_per_token_hf(read_object(artifact.path / "config.json"))
    return kv_bytes_per_token(read_set(artifact.files)[0].metadata)


_Row = Callable[[MemorySamples, float, Mapping[str, float]], Estimate]


def _weights(samples: MemorySamples, level: float, _: Mapping[str, float]) -> Estimate:
    found = samples.artifact.weights_bytes / samples.reference.weights_bytes
    return Estimate.exact(found, "ratio", level=level)


def _kv_cache(samples: MemorySamples, level: float, _: Mapping[str, float]) -> Estimate:
    if samples.header_kv_bytes_per_token is None:
        raise MeasurementError(samples.header_problem)
    found = samples.artifact.kv_bytes_per_token / samples.header_kv_bytes_per_token
    return Estimate.exact(found, "ratio", level=level)


def _peak(samples: MemorySamples, level: float, _: Mapping[str, float]) -> Estimate:
    own, theirs = samples.artifact, samples.reference
    if own.context_tokens != theirs.context_tokens:
        raise MeasurementError(
            f"memory.peak: context: got {own.context_tokens} tokens; expected the reference's"
            f" {theirs.context_tokens}"
        )
    if (own.device_peak_bytes is None) != (theirs.device_peak_bytes is None):
        raise MeasurementError(
            "memory.peak: got the GPU's memory of one side only; expected it of artifact and"
            " reference alike"
        )
    return Estimate.exact(own.peak_bytes / theirs.peak_bytes, "ratio", level=level)


def _growth(samples: MemorySamples, level: float, _: Mapping[str, float]) -> Estimate:
    return samples.growth.estimate(level)


def _fits(samples: MemorySamples, level: float, parameters: Mapping[str, float]) -> Estimate:
    """Scratch may grow with the context but no faster: an upper bound beyond what was measured."""
    own = samples.artifact
    is_vram, on_cpu = bool(parameters["is_vram"]), own.device == "cpu"
    if is_vram and on_cpu:
        raise MeasurementError("memory.fits: vram_gib: this runtime serves from RAM; write ram_gib")
    if not is_vram and not on_cpu:
        raise MeasurementError(
            "memory.fits: ram_gib: this runtime serves from VRAM; write vram_gib"
        )
    tokens = parameters["context"] * parameters.get("sequences", 1.0)
    scratch = own.compute_bytes * max(1.0, tokens / own.context_tokens)
    taken = own.weights_bytes + scratch + own.kv_bytes_per_token * tokens
    return Estimate.exact(taken / _GIB, "GiB", level=level)


ROWS: Mapping[str, _Row] = MappingProxyType(
    {
        "memory.weights": _weights,
        "memory.kv_cache": _kv_cache,
        "memory.peak": _peak,
        "memory.growth": _growth,
        "memory.fits": _fits,
    }
)
"""check name -> estimate"""


def _headline(footprint: Footprint) -> dict[str, float]:
    return {
        "peak_memory_bytes": float(footprint.peak_bytes),
        "weights_bytes": float(footprint.weights_bytes),
        "kv_cache_bytes_per_token": footprint.kv_bytes_per_token,
    }
