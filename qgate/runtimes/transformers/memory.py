"""What a model in transformers takes: its weights' storages, its cache, its kernels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator


def weights_bytes(model: Any) -> int:  # noqa: ANN401 - the library's
    """Of all distinct storages of parameters and buffers, quantization's scales included."""
    found: dict[int, int] = {}
    for tensor in _tensors(model):
        for inner in _plain(tensor):
            storage = inner.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def _tensors(model: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from model.buffers()
    for parameter in model.parameters():
        yield parameter
        yield from _beside(getattr(parameter, "quant_state", None))  # bitsandbytes, 4 bits
    for module in model.modules():
        yield from _beside(getattr(module, "state", None))  # bitsandbytes, 8 bits


def _beside(state: Any) -> Iterator[Any]:  # noqa: ANN401
    """Tensors that a library keeps in an object of its own beside the weight."""
    import torch

    for value in getattr(state, "__dict__", {}).values():
        if isinstance(value, torch.Tensor):
            yield value
        elif type(value) is type(state):  # scales that are quantized themselves
            yield from _beside(value)


def _plain(tensor: Any) -> Iterator[Any]:  # noqa: ANN401
    """What a tensor subclass is made of, else the tensor itself."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _plain(getattr(tensor, name))


def parameter_count(model: Any) -> int:  # noqa: ANN401
    """Of the model as it was before its weights were quantized."""
    quantized = [module for module in model.modules() if _kernel(module)]
    beside = {id(one) for module in quantized for one in module.parameters(recurse=False)}
    rest: dict[int, int] = {
        id(one): one.numel() for one in model.parameters() if id(one) not in beside
    }
    return int(sum(rest.values()) + sum(map(_parameters_of, quantized)))


def _parameters_of(module: Any) -> int:  # noqa: ANN401
    rows, columns = int(module.out_features), int(module.in_features)
    has_bias = getattr(module, "bias", None) is not None
    return rows * columns + (rows if has_bias else 0)


def kernels(model: Any) -> str:  # noqa: ANN401
    """Classes of the modules that hold quantized weights, most frequent first."""
    names = Counter(filter(None, map(_kernel, model.modules())))
    return ", ".join(name for name, _ in names.most_common())


def _kernel(module: Any) -> str:  # noqa: ANN401
    """What multiplies by this module's quantized weights; empty where it has none."""
    import torch

    kind = type(module).__name__
    if not hasattr(module, "in_features"):
        return ""
    if getattr(module, "quantization_scheme", None) is not None:
        is_packed = "weight_packed" in dict(module.named_parameters(recurse=False))
        return kind if is_packed else f"{kind} (decompressed)"
    if type(module) is torch.nn.Linear:
        is_subclass = hasattr(module.weight, "__tensor_flatten__")
        return f"{kind} ({type(module.weight).__name__})" if is_subclass else ""
    return "" if isinstance(module, torch.nn.Linear) and _is_float(module.weight) else kind


def _is_float(weight: Any) -> bool:  # noqa: ANN401
    return bool(weight.is_floating_point() and weight.element_size() >= 2)


def cache_bytes(cache: Any) -> int:  # noqa: ANN401
    """Of the keys and values in it.

    Raises:
        MeasurementError: it is of a kind that does not show them.
    """
    import torch

    values = [value for layer in cache.layers for value in vars(layer).values()]
    tensors = [value for value in values if isinstance(value, torch.Tensor) and value.dim() > 1]
    found = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
    if not sum(found.values()):
        raise MeasurementError(
            f"transformers: a {type(cache).__name__} does not show what it holds"
        )
    return sum(found.values())
