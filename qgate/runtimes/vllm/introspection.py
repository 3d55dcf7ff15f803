"""What a loaded vLLM engine tells of itself: kernels, sizes, and what its memory is used for.

On a CPU the adapter widens 16-bit weights to 32 bits, so that numbers come closest to the
reference's. That is the adapter's doing and not the artifact's: sizes are told as if it had not.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.runtimes.vllm.engine import Engine

_WIDE_BYTES = 4
_LEAST_BITS = 2
"""Nothing is quantized to fewer: a layer that holds less keeps its matrix somewhere else."""
_TOLD_IN_PAGES = ("FullAttentionSpec", "MLAAttentionSpec")
"""Kinds of KV cache that keep every token to the end of a sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Widening:
    """How many bytes a number takes here, and how many in the artifact."""

    here: int
    declared: int

    @classmethod
    def of(cls, engine: Engine) -> Widening:
        config = engine.config.model_config
        declared = getattr(config.hf_text_config, "dtype", None) or config.dtype
        here = config.dtype.itemsize
        return cls(here=here, declared=min(getattr(declared, "itemsize", here), here))

    def undo(self, n_bytes: int) -> int:
        return n_bytes * self.declared // self.here


def context_length(engine: Engine) -> int:
    """Tokens, as trained; what serves here may be less."""
    text = engine.config.model_config.hf_text_config
    found = getattr(text, "max_position_embeddings", None)
    return int(found) if found else engine.longest


def named_runner() -> str:
    """Which of vLLM's two model runners the user asked for: another may give other numbers."""
    named = os.environ.get("VLLM_USE_V2_MODEL_RUNNER")
    return "" if named is None else f", VLLM_USE_V2_MODEL_RUNNER={named}"


def kernels(engine: Engine) -> str:
    """What multiplies the linear layers, by vLLM's own class names, the most frequent first.

    E.g. `compressed-tensors CompressedTensorsWNA16 MarlinLinearKernel`; the scheme is left out of
    an unquantized model.
    """
    found = Counter(_kernel(layer) for layer in _linear_layers(engine.model()))
    config = engine.config.quant_config
    scheme = "" if config is None else f"{config.get_name()} "
    return scheme + ", ".join(name for name, _ in found.most_common())


def _kernel(layer: Any) -> str:  # noqa: ANN401 - a torch module
    """The class that prepares the layer, and that of the kernel in it where there is one."""
    owner = getattr(layer, "scheme", None) or layer.quant_method
    inside = [
        type(part).__name__
        for part in vars(owner).values()
        if type(part).__module__.startswith("vllm.") and type(part).__name__.endswith("Kernel")
    ]
    return " ".join([type(owner).__name__, *inside[:1]])


def weights_bytes(engine: Engine) -> int:
    """Of all parameters, and of matrices that a kernel has taken out of its layer.

    A matrix that was taken out of a quantized layer is counted in 8 bits for a kernel of that name,
    else as if it were not quantized: never too little.
    """
    widening, total = Widening.of(engine), 0
    model = engine.model()
    for name, parameter in model.named_parameters():
        size = parameter.numel() * parameter.element_size()
        is_wide = parameter.is_floating_point() and parameter.element_size() == _WIDE_BYTES
        total += widening.undo(size) if is_wide and "scale" not in name else size
    for layer in _linear_layers(model):
        if _is_empty(layer):
            is_8_bit = "Int8" in _kernel(layer)
            total += _matrix_size(layer) * (1 if is_8_bit else widening.declared)
    return total


def n_params(engine: Engine) -> int:
    """Numbers in the model, as they were before anything was packed."""
    model = engine.model()
    layers = list(_linear_layers(model))
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    others = [one.numel() for one in model.parameters() if id(one) not in inside]
    return int(sum(others)) + sum(_matrix_size(layer) for layer in layers)


def _linear_layers(model: Any) -> Iterator[Any]:  # noqa: ANN401 - a torch module
    for module in model.modules():
        is_table = hasattr(module, "num_embeddings")  # embedding and output matrix
        if hasattr(module, "input_size_per_partition") and not is_table:
            yield module


def _matrix_size(layer: Any) -> int:  # noqa: ANN401 - a torch module
    return int(layer.input_size_per_partition) * int(layer.output_size_per_partition)


def _is_empty(layer: Any) -> bool:  # noqa: ANN401 - a torch module
    held = sum(one.numel() * one.element_size() for one in layer.parameters(recurse=False))
    return bool(8 * held < _LEAST_BITS * _matrix_size(layer))


def kv_cache(engine: Engine, tokens: int) -> tuple[int, int]:
    """Bytes that one sequence takes of the cache, in whole blocks, and the tokens these hold.

    Raises:
        MeasurementError: a kind of cache that does not keep every token.
    """
    total, cells = 0, tokens
    for group in engine.kv_cache_config.kv_cache_groups:
        spec = group.kv_cache_spec
        inner = list(getattr(spec, "kv_cache_specs", {}).values()) or [spec]
        for one in inner:
            if type(one).__name__ not in _TOLD_IN_PAGES:
                raise MeasurementError(
                    f"memory: vllm's cache of kind {type(one).__name__} is not understood;"
                    f" expected one of {', '.join(_TOLD_IN_PAGES)}"
                )
        blocks = math.ceil(tokens / spec.block_size)
        cells = max(cells, blocks * spec.block_size)
        layers = 1 if len(inner) > 1 else len(group.layer_names)
        total += blocks * spec.page_size_bytes * layers
    return Widening.of(engine).undo(total), cells
