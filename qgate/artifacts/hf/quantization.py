"""How a Hugging Face directory says that its weights are quantized, and that in short words.

Looked for in this order: `quantization_config` of config.json (`compression_config` of old
compressed-tensors), the same in `text_config`; then `quantize_config.json` (AutoGPTQ),
`quant_config.json` (AutoAWQ), `hf_quant_config.json` (ModelOpt), which have no method's name.

The words are for people; they hold numbers and names of formats only, never a path (gptqmodel
leaves a temporary one in the file).
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.modules import is_skipped
from qgate.untrusted.json import read_object
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_KEYS = ("quantization_config", "compression_config")
_FILES: Mapping[str, str] = MappingProxyType(
    {
        "quantize_config.json": "gptq",
        "quant_config.json": "awq",
        "hf_quant_config.json": "modelopt",
    }
)
"""Files of tools from before there was a `quantization_config`, and the method they mean."""
_MAX_METHOD = 60
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,24}")


def find_quantization(config: Mapping[str, Any], files: Sequence[Path]) -> dict[str, Any] | None:
    """What the directory says of its weights; with `quant_method` where that is only implied.

    Args:
        config: config.json.
        files: of the directory.

    Returns:
        None where nothing says that they are quantized; empty where something says no more.

    Raises:
        ArtifactError: a file that would say it cannot be read.
    """
    nested = config.get("text_config")
    for place in (config, nested if isinstance(nested, dict) else {}):
        for key in _KEYS:
            if place.get(key) is not None:
                said = place[key]
                return _with_method(said) if isinstance(said, dict) else {}
    for name, method in _FILES.items():
        for path in files:
            if path.name == name:
                return {"quant_method": method, **read_object(path)}
    return None


def _with_method(said: dict[str, Any]) -> dict[str, Any]:
    if "quant_method" not in said and (said.get("load_in_4bit") or said.get("load_in_8bit")):
        return {**said, "quant_method": "bitsandbytes"}
    return said


def method_of(quantization: Mapping[str, Any]) -> str:
    """The method's name, verbatim; `unknown` where there is none."""
    named = quantization.get("quant_method")
    return printable(named)[:_MAX_METHOD] if isinstance(named, str) and named else "unknown"


def in_words(quantization: Mapping[str, Any]) -> str:
    """`4 bit, group 128`; empty where nothing in it can be told in a few words."""
    describe = _WORDS.get(method_of(quantization))
    return ", ".join(word for word in describe(quantization) if word) if describe else ""


def whole(said: Mapping[str, Any], *keys: str) -> int | None:
    """The first of these keys that holds a whole number."""
    for key in keys:
        if type(said.get(key)) is int:
            return int(said[key])
    return None


def word(value: Any) -> str:  # noqa: ANN401 - JSON
    """A value that is a plain word, else nothing."""
    return value if isinstance(value, str) and _PLAIN_WORD.fullmatch(value) else ""


def weights_args(group: Any) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:  # noqa: ANN401 - JSON
    """Of a group of compressed-tensors: how its weights and its inputs are quantized."""
    said = group if isinstance(group, dict) else {}
    weights, inputs = said.get("weights"), said.get("input_activations")
    return (
        weights if isinstance(weights, dict) else {},
        inputs if isinstance(inputs, dict) else None,
    )


def config_groups(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The groups of a compressed-tensors configuration."""
    groups = said.get("config_groups")
    found = groups.values() if isinstance(groups, dict) else ()
    return [group for group in found if isinstance(group, dict)]


def is_about(group: Mapping[str, Any], name: str) -> bool:
    """Whether such a group is about a module; a class's name (`Linear`) is about all."""
    targets = group.get("targets")
    named = targets if isinstance(targets, list) else []
    classes = [one for one in named if isinstance(one, str) and one[:1].isupper()]
    return bool(classes) or not named or is_skipped(name, named)


def torchao_type(quantization: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The name of torchao's configuration and its settings; empty where it has another form."""
    said = quantization.get("quant_type")
    if isinstance(said, str):
        return word(said), {}
    default = said.get("default") if isinstance(said, dict) else None
    if not isinstance(default, dict):
        return "", {}
    data = default.get("_data")
    return word_long(default.get("_type")), data if isinstance(data, dict) else {}


def word_long(value: Any) -> str:  # noqa: ANN401 - JSON
    """As `word`, for names of classes."""
    is_name = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]{1,80}", value)
    return str(value) if is_name else ""


def _packed(said: Mapping[str, Any]) -> list[str]:
    """GPTQ and AWQ."""
    bits, group = whole(said, "bits", "w_bit"), whole(said, "group_size", "q_group_size")
    act_order = "act order" if said.get("desc_act") is True else ""
    return [f"{bits} bit" if bits else "", _group(group), act_order]


def _group(size: int | None) -> str:
    if size is None:
        return ""
    return f"group {size}" if size > 0 else "per channel"


def _bitsandbytes(said: Mapping[str, Any]) -> list[str]:
    if said.get("load_in_8bit") is True:
        return ["8 bit int8"]
    if said.get("load_in_4bit") is not True:
        return []
    kind = word(said.get("bnb_4bit_quant_type")) or "fp4"
    return [f"4 bit {kind}", "double" if said.get("bnb_4bit_use_double_quant") is True else ""]


def _compressed(said: Mapping[str, Any]) -> list[str]:
    groups = said.get("config_groups")
    phrases = {
        _compressed_group(group): None
        for group in (groups.values() if isinstance(groups, dict) else ())
    }
    return [" and ".join([phrase for phrase in phrases if phrase][:3])]


def _compressed_group(group: Any) -> str:  # noqa: ANN401 - JSON
    weights, inputs = weights_args(group)
    form = word(group.get("format")) if isinstance(group, dict) else ""
    bits = whole(weights, "num_bits")
    if not bits:
        return ""
    if form.startswith(("nvfp4", "mxfp4")):
        return form[:5] if inputs else f"{form[:5]} weight-only"
    size = whole(weights, "group_size")
    group_words = f", group {size}" if size and size > 0 else ""
    if weights.get("type") == "float":
        kind = {8: "fp8 e4m3", 4: "fp4"}.get(bits, f"fp{bits}")
        block = weights.get("block_structure")
        if isinstance(block, list) and all(type(length) is int for length in block):
            group_words = ", block " + "x".join(map(str, block[:2]))
        return f"{kind} {_activations(inputs)}{group_words}"
    of_inputs = (whole(inputs, "num_bits") or 16) if inputs else 16
    return f"W{bits}A{of_inputs} int{bits}{group_words}"


def _activations(inputs: Mapping[str, Any] | None) -> str:
    if inputs is None:
        return "weight-only"
    return "dynamic" if inputs.get("dynamic") else "static"


def _fp8(said: Mapping[str, Any]) -> list[str]:
    scheme = word(said.get("activation_scheme")) or "dynamic"
    block = said.get("weight_block_size")
    is_block = isinstance(block, list) and all(type(length) is int for length in block)
    blocks = "x".join(map(str, block[:2])) if isinstance(block, list) and is_block else ""
    return [f"fp8 {word(said.get('fmt')) or 'e4m3'} {scheme}", f"block {blocks}" if blocks else ""]


def _torchao(said: Mapping[str, Any]) -> list[str]:
    name, settings = torchao_type(said)
    if not name:
        return []
    dtype = settings.get("weight_dtype")
    stored = word(dtype.get("_data")) if isinstance(dtype, dict) else ""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Config")).lower()
    words = words.replace("weight_only", "weight-only").replace("_", " ")
    words = words.replace("intx", stored or "intx")
    granularity = settings.get("weight_granularity") or settings.get("granularity")
    data = granularity.get("_data") if isinstance(granularity, dict) else None
    size = whole(data, "group_size") if isinstance(data, dict) else None
    return [words, _group(size or whole(settings, "group_size"))]


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], list[str]]] = MappingProxyType(
    {
        "gptq": _packed,
        "awq": _packed,
        "bitsandbytes": _bitsandbytes,
        "compressed-tensors": _compressed,
        "fp8": _fp8,
        "fbgemm_fp8": lambda _: ["fp8 e4m3 dynamic"],
        "mxfp4": lambda _: ["mxfp4 weight-only"],
        "torchao": _torchao,
    }
)
"""quant_method -> phrases"""
