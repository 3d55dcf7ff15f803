"""How an artifact's own files want it to be sampled: `generation_config.json`, or a GGUF header."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.gguf.shards import read_set
from qgate.untrusted.json import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Artifact

_GGUF_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "temperature": "general.sampling.temp",
        "top_k": "general.sampling.top_k",
        "top_p": "general.sampling.top_p",
        "min_p": "general.sampling.min_p",
    }
)
"""As llama.cpp's converter writes them."""


def serving_defaults(artifact: Artifact) -> Mapping[str, float]:
    """`temperature`, `top_k`, `top_p`, `min_p`, as far as its files name them.

    Empty where they want greedy answers, name no temperature or name what cannot be: a temperature
    that is not positive, a share outside of 0 to 1.

    Raises:
        ArtifactError: its files cannot be read.
    """
    found = _of_directory(artifact) if artifact.format == "hf" else _of_gguf(artifact)
    named = {key: value for key in _GGUF_KEYS if (value := _number(found.get(key))) is not None}
    return MappingProxyType(named if _is_sound(named) else {})


def _of_directory(artifact: Artifact) -> Mapping[str, Any]:
    path = next((one for one in artifact.files if one.name == "generation_config.json"), None)
    config = read_object(path) if path is not None else {}
    return config if config.get("do_sample", True) else {}


def _of_gguf(artifact: Artifact) -> Mapping[str, Any]:
    metadata = read_set(artifact.files)[0].metadata
    return {name: metadata.get(key) for name, key in _GGUF_KEYS.items()}


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]


def _is_sound(named: Mapping[str, float]) -> bool:
    shares = [named[key] for key in ("top_p", "min_p") if key in named]
    return (
        math.isfinite(named.get("temperature", math.nan))
        and named["temperature"] > 0
        and math.isfinite(named.get("top_k", 0))
        and named.get("top_k", 0) >= 0
        and all(0 <= share <= 1 for share in shares)
        and named.get("top_p", 1) > 0
    )
