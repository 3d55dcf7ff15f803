"""Weights into vLLM with nothing left to chance.

vLLM itself takes memory as it finds it for a tensor that the files lack, and serves on: it exempts
all unquantized layers from its own check. Here every parameter has to come from the files; and
matrices hold NaN until they do, since of layers that were merged (query, key and value) vLLM only
knows that some part came. The files are those that the integrity rows look at: vLLM alone would
prefer an index to `model.safetensors`, and without one load every safetensors file that lies there.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from qgate.artifacts.hf.weights import read_weights
from qgate.untrusted.text import listed

FORMAT = "qgate_safetensors"
"""What vLLM is told as its `load_format`."""
_PLAIN_DTYPES = ("float32", "float16", "bfloat16")


def register_loader() -> str:
    """Make the loader known to vLLM; returns the name of its format."""
    from vllm.model_executor import model_loader
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    class WholeModelLoader(DefaultModelLoader):  # type: ignore[misc]  # Any without vllm
        def __init__(self, load_config: Any) -> None:  # noqa: ANN401 - vLLM's own
            super().__init__(dataclasses.replace(load_config, load_format="safetensors"))
            self.enable_weights_track = True

        def _prepare_weights(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401
            directory, _, *others = super()._prepare_weights(*given, **named)
            files = [str(header.path) for header in read_weights(Path(directory))]
            return directory, files, *others

        def load_weights(self, model: Any, model_config: Any) -> None:  # noqa: ANN401
            _unset(model)
            super().load_weights(model, model_config)
            _require_set(model)

        def track_weights_loading(self, model: Any, loaded_weights: Any, **_: Any) -> None:  # noqa: ANN401
            # as of a quantized model: only of those vLLM means every parameter
            super().track_weights_loading(model, loaded_weights, quantized=True)

    if FORMAT not in model_loader._LOAD_FORMAT_TO_MODEL_LOADER:
        model_loader.register_model_loader(FORMAT)(WholeModelLoader)
    return FORMAT


def _unset(model: Any) -> None:  # noqa: ANN401 - a torch module
    for parameter in _matrices(model).values():
        parameter.data.fill_(float("nan"))


def _require_set(model: Any) -> None:  # noqa: ANN401 - a torch module
    unset = [name for name, one in _matrices(model).items() if bool(one.data.isnan().any())]
    if unset:
        raise ValueError(f"weights are missing in the files, or no numbers: {listed(unset)}")


def _matrices(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a torch module
    """Unpacked weights; what belongs to a scheme may rightly be absent from the files."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if name.endswith("weight") and str(parameter.dtype).removeprefix("torch.") in _PLAIN_DTYPES
    }
