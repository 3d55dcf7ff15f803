"""The integrity rows of a Hugging Face directory that are about its weights.

Tokenizers, special tokens and chat templates are compared by the functions of
`qgate.measure.integrity.gguf`, whatever the format.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.directory import stated_dtype
from qgate.artifacts.hf.modules import Module, is_skipped, modules_of
from qgate.artifacts.hf.quantization import find_quantization, method_of
from qgate.artifacts.hf.weights import read_weights
from qgate.errors import ArtifactError
from qgate.measure.integrity.compressed_tensors import FORMATS, formats_of
from qgate.measure.integrity.gguf import (
    FILES,
    LEAST_QUANTIZED_SHARE,
    judge_scans,
    scheme_finding,
    shares_of_bytes,
    whole_files,
)
from qgate.measure.integrity.hf_layouts import OTHER_LAYOUTS, READERS, SKIPPED_KEYS, Reading
from qgate.measure.integrity.safetensors_scan import scan_safetensors
from qgate.measure.measurement import Finding
from qgate.untrusted.json import read_object
from qgate.untrusted.text import listed, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.artifacts.hf.safetensors import StoredTensor
    from qgate.records import Artifact

_STORED_AS: Mapping[str, str] = MappingProxyType(
    {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
)


def check_files(artifact: Artifact) -> Finding:
    """`integrity.files`: index, headers and tensor data are whole, and as at discovery."""
    if artifact.problem is not None:
        return Finding(check=FILES, holds=False, text=artifact.problem)
    try:
        headers = read_weights(artifact.path)
        size_bytes = sum(path.stat().st_size for path in artifact.files)
    except (ArtifactError, OSError) as error:
        return Finding(check=FILES, holds=False, text=printable(str(error)))
    found = whole_files(artifact, headers, size_bytes)
    if found.holds and not any(header.tensors for header in headers):
        text = f"{printable(str(artifact.path))}: weights: got no tensor in any file."
        return dataclasses.replace(found, holds=False, text=text)
    return found


def check_weights(artifact: Artifact) -> Finding:
    """`integrity.weights`: every number and scale is finite, no matrix is all zero.

    Raises:
        ArtifactError: a file cannot be read to its end.
    """
    said = _Said.of(artifact)
    formats = frozenset({method_of(said.quantization or {}), *formats_of(said.quantization or {})})
    began = time.perf_counter()
    scans = [
        scan for header in read_weights(artifact.path) for scan in scan_safetensors(header, formats)
    ]
    return judge_scans(scans, time.perf_counter() - began, "integers in")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What the configuration says of the weights."""

    config: Mapping[str, Any]
    quantization: Mapping[str, Any] | None

    @classmethod
    def of(cls, artifact: Artifact) -> _Said:
        config = read_object(artifact.path / "config.json")
        return cls(config=config, quantization=find_quantization(config, artifact.files))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What lies in the files."""

    quantized: Mapping[str, Reading]
    """By module, by the claimed method's reader."""
    left: Sequence[Module]
    """Matrices stored unquantized that could be quantized and are not listed as skipped."""
    modules: Sequence[Module]
    """All that hold a matrix."""


def check_scheme(artifact: Artifact) -> Finding:
    """`integrity.scheme`: what the configuration claims is how the tensors are stored.

    Raises:
        ArtifactError: the method is one that this version cannot read.
    """
    said = _Said.of(artifact)
    modules = modules_of(read_weights(artifact.path))
    stored = _stored(modules, said.quantization)
    if said.quantization is None:
        wrong = _dtype_contradiction(stored, stated_dtype(said.config))
    else:
        wrong = _contradiction(stored, said.quantization)
    sizes = _bytes_by_dtype(stored.modules)
    details: dict[str, Any] = {
        "scheme": artifact.scheme,
        "quantization": artifact.quantization,
        "bytes_by_type": sizes,
        "n_quantized": len(stored.quantized),
        "n_left_unquantized": len(stored.left),
    }
    claim = ", ".join(part for part in (artifact.scheme, artifact.quantization) if part)
    stored_as = shares_of_bytes(sizes) if any(sizes.values()) else "nothing"
    return scheme_finding(wrong, claim, stored_as, details)


def _stored(modules: Sequence[Module], quantization: Mapping[str, Any] | None) -> _Stored:
    claim = quantization or {}
    if quantization is not None:
        _require_known(claim)
    reader = READERS.get(method_of(claim))
    lists = [claim[key] for key in SKIPPED_KEYS if isinstance(claim.get(key), list)]
    skipped = [one for names in lists for one in names]
    readings = {module.name: reader(module, claim) for module in modules} if reader else {}
    quantized = {name: reading for name, reading in readings.items() if reading is not None}
    left = [
        module
        for module in modules
        if module.name not in quantized
        and module.plain_weight is not None
        and module.is_linear
        and not is_skipped(module.name, skipped)
    ]
    with_matrix = [
        module
        for module in modules
        if module.name in quantized or any(part.is_matrix for part in module.parts.values())
    ]
    return _Stored(quantized=quantized, left=left, modules=with_matrix)


def _require_known(claim: Mapping[str, Any]) -> None:
    method = method_of(claim)
    key, names = OTHER_LAYOUTS.get(method, ("", frozenset()))
    layout = claim.get(key)
    unread = sorted(formats_of(claim) - FORMATS) if method == "compressed-tensors" else []
    if method not in READERS:
        got = f"got method '{method}'; expected {', '.join(sorted(READERS))}"
    elif isinstance(layout, str) and layout not in names:
        got = f"got {key} '{printable(layout)[:40]}' of {method}; expected {min(names)}"
    elif unread:
        got = f"got format {listed(unread)}; expected {', '.join(sorted(FORMATS))}"
    else:
        return
    raise ArtifactError(f"integrity.scheme: this version cannot read such tensors: {got}.")


def _contradiction(stored: _Stored, claim: Mapping[str, Any]) -> str | None:
    """What in the tensors cannot be, if they are quantized as claimed."""
    method, n_left = method_of(claim), len(stored.left)
    bad = [(name, one.problem) for name, one in stored.quantized.items() if one.problem]
    if bad:
        name, problem = bad[0]
        which = f"{len(bad)} of {len(stored.quantized)} modules are not: "
        return f"claims {method}, but {which}{printable(name)}: {problem}"
    if not stored.quantized:
        return f"claims {method}, but none of {n_left} weight matrices is quantized"
    n_quantized = sum(reading.n_weights for reading in stored.quantized.values())
    n_unquantized = sum(_weight(module).n_elements for module in stored.left)
    share = n_quantized / (n_quantized + n_unquantized)
    if share < LEAST_QUANTIZED_SHARE:
        names = listed([module.name for module in stored.left])
        return f"claims {method}, but only {share:.0%} of the weights are quantized; not {names}"
    return None


def _weight(module: Module) -> StoredTensor:
    weight = module.plain_weight
    assert weight is not None, "only such modules are left unquantized"
    return weight


def _dtype_contradiction(stored: _Stored, dtype: str | None) -> str | None:
    plain = [module.plain_weight for module in stored.modules]
    dtypes = {weight.dtype for weight in plain if weight is not None}
    packed = [
        module.name
        for module in stored.modules
        if module.plain_weight is None and _holds_codes(module)
    ]
    if packed:
        names = listed(packed)
        return f"claims no quantization, but {len(packed)} modules hold quantized weights: {names}"
    if not dtypes:
        return "no module has a weight matrix"
    wanted = _STORED_AS.get(dtype or "")
    if wanted is not None and wanted not in dtypes:
        return f"claims {dtype}, but no weight matrix is {wanted}"
    return None


def _holds_codes(module: Module) -> bool:
    """Whether a matrix of it is of integers or of bytes, whatever they are called."""
    return any(
        tensor.is_matrix and not tensor.dtype.startswith(("F32", "F16", "BF16", "F64"))
        for tensor in module.parts.values()
    )


def _bytes_by_dtype(modules: Sequence[Module]) -> dict[str, int]:
    """Of modules with a matrix, scales and zeros included; most first."""
    totals: dict[str, int] = {}
    for module in modules:
        for tensor in module.parts.values():
            totals[tensor.dtype] = totals.get(tensor.dtype, 0) + tensor.n_bytes
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))
