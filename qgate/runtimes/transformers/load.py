"""Loads a Hugging Face directory the strict way: whole, from safetensors, without its code.

Code of its own runs only where the user allowed it by name. transformers fills a missing tensor
with random numbers, drops one that it does not expect, and goes on; here each is an error of the
artifact. On a CPU everything is computed in float32: it holds 16-bit values exactly, and is two to
six times faster there than 16 bits are. That goes for quantized weights too. Mean KL to the
reference of the demo's model, in nats: bitsandbytes int8 4.7e-5 in float32 and 1.2e-4 in bfloat16,
torchao int8 3.0e-5 and 9.7e-5, gptq 3.4e-3 and 3.5e-3. On a GPU the dtype is the file's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.declared import require_declared_fits
from qgate.errors import ArtifactError, RuntimeUnavailable
from qgate.runtimes.transformers.requirements import require
from qgate.untrusted.text import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.runtimes.base import LoadSettings

_INDEX = "model.safetensors.index.json"
_COMPUTE_DTYPE = "bnb_4bit_compute_dtype"
_NAMING_KERNELS = ("_attn_implementation", "_experts_implementation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model that is whole, and its tokenizer."""

    model: Any
    tokenizer: Any
    scheme: str
    """What its weights are quantized by; empty where they are not."""


def load(settings: LoadSettings) -> Loaded:
    """Load the directory.

    Raises:
        ArtifactError: it is not whole, or transformers refuses it.
        RuntimeUnavailable: its scheme needs a package or a device that is not here.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, __version__
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    directory = Path(settings.path)
    has_gpu = torch.cuda.is_available()
    said = _read(directory / "config.json")
    scheme = _scheme(said, settings.quantize)
    require(scheme, has_gpu=has_gpu)
    if scheme and not {scheme, f"{scheme}_4bit"} & AUTO_QUANTIZATION_CONFIG_MAPPING.keys():
        # transformers would warn and serve the packed numbers as if they were weights
        raise RuntimeUnavailable(f"transformers {__version__} knows no scheme {scheme!r}")
    _refuse_other_files(directory)
    require_declared_fits(directory, said)
    here: dict[str, Any] = {
        "local_files_only": True,
        "trust_remote_code": settings.trust_remote_code,
    }
    how: dict[str, Any] = {"dtype": "auto" if has_gpu else torch.float32}
    if has_gpu:
        how["device_map"] = {"": 0}
    if settings.quantize is not None:
        how["quantization_config"] = _quantization(settings.quantize)
    model, found = AutoModelForCausalLM.from_pretrained(
        directory,
        config=_without_kernels(AutoConfig.from_pretrained(directory, **here)),
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below, by their names
        **here,
        **how,
    )
    _refuse_unless_whole(found)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(directory, **here)
    return Loaded(model=model, tokenizer=tokenizer, scheme=scheme)


def _without_kernels(config: Any) -> Any:  # noqa: ANN401 - the library's configuration
    """The same, and what multiplies is the library's own choice.

    A name of a hub's repository in config.json would have its code fetched and run.
    """
    for name in _NAMING_KERNELS:
        plain = "eager" if getattr(config, name, None) == "eager" else None
        setattr(config, name, plain)  # and in the configurations of its parts
    return config


def _scheme(config: Mapping[str, Any], asked: Mapping[str, Any] | None) -> str:
    """What the weights are quantized by, or are to be."""
    said = config.get("quantization_config") or {}
    if asked is not None:
        if said:
            raise ArtifactError(
                f"qgate.yaml: quantize: got {asked.get('method')!r} for weights that are quantized"
                f" already ({said.get('quant_method')}); expected an unquantized directory."
                " Remove qgate.yaml"
            )
        return str(asked.get("method"))
    if said.get("load_in_4bit") or said.get("load_in_8bit"):
        return str(said.get("quant_method", "bitsandbytes"))
    return str(said.get("quant_method", ""))


def _quantization(asked: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the library's configuration
    """How weights are quantized while they are loaded, as the library is told."""
    import torch
    from transformers import BitsAndBytesConfig, TorchAoConfig

    keys = {name: value for name, value in asked.items() if name != "method"}
    if asked["method"] == "bitsandbytes":
        # as the model around it computes; bitsandbytes alone would take float32
        if torch.cuda.is_available() and keys.get("load_in_4bit"):
            keys.setdefault(_COMPUTE_DTYPE, torch.bfloat16)
        return BitsAndBytesConfig(**keys)
    if asked["method"] == "torchao":
        return TorchAoConfig(**{**keys, "quant_type": _torchao_kind(keys.get("quant_type"))})
    raise ArtifactError(
        f"qgate.yaml: quantize.method: got {asked['method']!r}; expected bitsandbytes or torchao"
    )


def _torchao_kind(name: object) -> Any:  # noqa: ANN401 - the library's configuration
    """A configuration of torchao by its own class name or by transformers' older short name."""
    from torchao import quantization

    classes = {
        "int8_weight_only": "Int8WeightOnlyConfig",
        "int4_weight_only": "Int4WeightOnlyConfig",
        "int8_dynamic_activation_int8_weight": "Int8DynamicActivationInt8WeightConfig",
        "float8_weight_only": "Float8WeightOnlyConfig",
    }
    wanted = classes.get(str(name), str(name))
    kind = getattr(quantization, wanted, None) if wanted.endswith("Config") else None
    if kind is None:
        raise ArtifactError(
            f"qgate.yaml: quantize.quant_type: got {name!r}; expected one of {', '.join(classes)}"
        )
    return kind()


def _refuse_other_files(directory: Path) -> None:
    """Shards have to be .safetensors of this very directory: others may be unpickled."""
    index = directory / _INDEX
    if not index.is_file():
        return
    for shard in sorted({str(name) for name in _read(index).get("weight_map", {}).values()}):
        if not shard.endswith(".safetensors") or Path(shard).name != shard:
            raise ArtifactError(
                f"{_INDEX}: weights in another kind of file: got {shard!r}; expected the name of a"
                " .safetensors file beside it. Refused"
            )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{path.name}: got {type(found).__name__}; expected a JSON object")
    return found


def _refuse_unless_whole(found: Mapping[str, Any]) -> None:
    mismatched = [
        f"{name} (got {list(got)}; expected {list(expected)})"
        for name, got, expected in found["mismatched_keys"]
    ]
    troubles = {
        "tensors are missing, which transformers fills with random numbers": found["missing_keys"],
        "tensors of another shape than config.json says": mismatched,
        "tensors that this model has no place for": found["unexpected_keys"],
        "weights that cannot be loaded": found["error_msgs"],
    }
    said = [
        f"{what}: {listed(sorted(map(str, names)))}" for what, names in troubles.items() if names
    ]
    if said:
        raise ArtifactError(f"the weights do not fit config.json: {'; '.join(said)}")
