"""Which quantized Hugging Face models vLLM can serve, by the words of their config.json.

For a GPU these are the methods that vLLM 0.32 has a loader for and that checkpoints name
(`QUANTIZATION_METHODS` in vllm/model_executor/layers/quantization; bitsandbytes and GGUF are gone
from it, fbgemm_fp8 is refused as deprecated, and torchao's own package does not come with it). Of
GPTQ it takes 4 and 8 bits without zero points, of AWQ 4 bits (`TYPE_MAP` in auto_gptq.py and
auto_awq.py), on any device. Its CPU build takes fewer kinds: 4 bits by its WNA16
kernel (`CPUWNA16LinearKernel`: uint4 with or without zero points), 8-bit integers on both sides,
and 8-bit floats with a scale a channel and activations scaled as they come. The rest of
compressed-tensors, fp8, torchao and bitsandbytes were tried there with real models: its engine
refuses to start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.quantization import find_quantization, weights_args, whole
from qgate.errors import ArtifactError
from qgate.untrusted.json import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Artifact
    from qgate.runtimes.spec import Device

_ON_A_GPU = frozenset(
    {
        "auto-round",
        "awq",
        "compressed-tensors",
        "fp8",
        "gptq",
        "inc",
        "modelopt",
        "mxfp4",
        "quark",
    }
)
_ON_A_CPU = frozenset({"awq", "compressed-tensors", "gptq"})


def schemes_on(device: Device) -> frozenset[str]:
    """The schemes of which it can hold at least one kind on such a device."""
    return _ON_A_GPU if device == "gpu" else _ON_A_CPU


def vllm_supports(artifact: Artifact, *, has_gpu: bool) -> bool:
    """Whether vLLM can hold this model; unquantized ones it always can."""
    if not artifact.is_quantized:
        return True
    scheme = artifact.scheme.casefold()
    if scheme in ("gptq", "awq"):
        return _has_packed_kernel(scheme, _said_of(artifact), has_gpu=has_gpu)
    if has_gpu:
        return scheme in _ON_A_GPU
    return scheme == "compressed-tensors" and _fits_cpu_kernels(_said_of(artifact))


def _has_packed_kernel(scheme: str, said: Mapping[str, Any], *, has_gpu: bool) -> bool:
    bits = whole(said, "bits", "w_bit")
    if scheme == "awq":
        return bits == 4
    is_symmetric = said.get("sym") is True
    return is_symmetric and bits in ((4, 8) if has_gpu else (4,))


def _fits_cpu_kernels(said: Mapping[str, Any]) -> bool:
    groups = said.get("config_groups")
    if not isinstance(groups, dict) or said.get("transform_config"):
        return False
    return bool(groups) and all(map(_has_cpu_kernel, groups.values()))


def _has_cpu_kernel(group: object) -> bool:
    """Of one group of compressed-tensors: which weights, beside which activations."""
    weights, inputs = weights_args(group)
    if inputs is None:
        return _kind(weights) == ("int", 4)
    if _kind(weights) == _kind(inputs) == ("int", 8):
        return True
    is_fp8 = _kind(weights) == _kind(inputs) == ("float", 8)
    return is_fp8 and weights.get("strategy") == "channel" and inputs.get("dynamic") is True


def _kind(arguments: Mapping[str, Any] | None) -> tuple[Any, Any] | None:
    return None if arguments is None else (arguments.get("type"), arguments.get("num_bits"))


def _said_of(artifact: Artifact) -> Mapping[str, Any]:
    """What its files say of its quantization; empty where they cannot be read."""
    try:
        config = read_object(artifact.path / "config.json")
        return find_quantization(config, artifact.files) or {}
    except ArtifactError:
        return {}  # whoever loads it says what is wrong with it
