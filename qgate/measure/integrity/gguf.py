"""Is the artifact what it says it is, whole, and made for the same tokens as the reference?

One function per row; none of them loads the model. They answer from headers, but for
`integrity.weights`, which reads every byte of tensor data once.

A row that needs the reference takes the reference's facts: without one there is nothing to call,
and the row is an error, never a pass.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from qgate.artifacts.bits import block_matrices, effective_bits, stored_as
from qgate.artifacts.gguf.artifact import bytes_by_type, claimed_scheme, weights
from qgate.artifacts.gguf.shards import read_set
from qgate.artifacts.gguf.types import FALLBACK, MAIN_TYPE, MIXED_IN, TYPES_BY_NAME, UNQUANTIZED
from qgate.artifacts.tokenizer.comparison import difference
from qgate.errors import ArtifactError
from qgate.measure.integrity.weight_scan import scan_tensors
from qgate.measure.measurement import Finding
from qgate.untrusted.text import listed, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from qgate.artifacts.gguf.header import GgufHeader, TensorInfo
    from qgate.artifacts.hf.safetensors import SafetensorsHeader
    from qgate.artifacts.tokenizer.comparison import Part, TokenizerFacts
    from qgate.measure.integrity.weight_scan import TensorScan
    from qgate.records import Artifact

MOST_BITS_BEYOND = 2.0
"""Bits per weight: mixes give some tensors larger types (Q4_K_M: Q6_K for an eighth or so)."""
LEAST_SHARE_OF_BITS = 0.8
"""Of the main type's bits per weight: mixes give some tensors smaller types too."""
MOST_BITS_BELOW = 0.5
"""Effective bits a weight that a mix may have below its main type's."""
LEAST_QUANTIZED_SHARE = 0.5
"""Of the bytes of weights that could be quantized."""
FILES = "integrity.files"
_MOST_NAMED = 10
_NAMED = re.compile(r"(?<![A-Z0-9])I?[QT]Q?[0-9](?:_[A-Z0-9]+)+(?![A-Z0-9_])")
"""What reads like a scheme in a file's name: `Q4_K_M`, `IQ3_XXS`; `Q4_K_XL`, too, which is none."""


def check_files(artifact: Artifact) -> Finding:
    """`integrity.files` of GGUF: header and data are in place, and as they were at discovery."""
    if artifact.problem is not None:
        return Finding(check=FILES, holds=False, text=artifact.problem)
    try:
        headers = read_set(artifact.files)
    except ArtifactError as error:
        return Finding(check=FILES, holds=False, text=str(error))
    return whole_files(artifact, headers, sum(header.file_bytes for header in headers))


def whole_files(
    artifact: Artifact, headers: Sequence[GgufHeader | SafetensorsHeader], size_bytes: int
) -> Finding:
    """`integrity.files` of files that can be read: are they those that discovery saw?"""
    n_tensors = sum(len(header.tensors) for header in headers)
    details = {"n_files": len(headers), "n_tensors": n_tensors, "size_bytes": size_bytes}
    if size_bytes != artifact.size_bytes:
        got = f"got {size_bytes} bytes; expected {artifact.size_bytes} as at the beginning"
        changed = f"{printable(str(artifact.path))}: changed during the run: {got}."
        return Finding(check=FILES, holds=False, text=changed, details=details)
    whole = f"{counted(n_tensors, 'tensor')} in {counted(len(headers), 'file')}, whole"
    return Finding(check=FILES, holds=True, text=whole, details=details)


def check_scheme(headers: Sequence[GgufHeader]) -> Finding:
    """`integrity.scheme`: what `general.file_type` claims is how the weights are stored."""
    metadata = headers[0].metadata
    tensors = weights(tensor for header in headers for tensor in header.tensors)
    scheme = claimed_scheme(metadata)
    details: dict[str, Any] = {
        "scheme": scheme,
        "bytes_by_type": bytes_by_type(tensors),
        "bits_per_weight": round(_bits_per_weight(tensors), 4) if tensors else None,
    }
    if not tensors:
        wrong: str | None = "no tensor has two dimensions: there are no weights"
    elif scheme is None:
        claim = metadata.get("general.file_type", "nothing")
        wrong = None if claim == "nothing" else "general.file_type is not a known file type"
    else:
        wrong = _contradiction(scheme, tensors)
    wrong = wrong or _misnomer(headers[0].path, tensors)
    return scheme_finding(wrong, scheme or "no file type claimed", _stored_as(tensors), details)


def scheme_finding(wrong: str | None, claim: str, stored: str, details: dict[str, Any]) -> Finding:
    """`integrity.scheme`, of what is wrong with a claim and how the weights are stored."""
    text = f"{wrong or claim}; stored as {stored}"
    if wrong is not None:
        text = f"{text}. Quantize it again, or name it rightly."
    return Finding(check="integrity.scheme", holds=wrong is None, text=text, details=details)


def check_weights(headers: Sequence[GgufHeader]) -> Finding:
    """`integrity.weights`: no stored number or scale is NaN or Inf, no weight matrix all zero.

    Raises:
        ArtifactError: a file cannot be read to its end.
    """
    began = time.perf_counter()
    scans = [scan for header in headers for scan in scan_tensors(header)]
    return judge_scans(scans, time.perf_counter() - began)


def judge_scans(
    scans: Sequence[TensorScan], seconds: float, of_others: str = "scales not looked at in"
) -> Finding:
    """`integrity.weights`, from what was found in each tensor; `of_others` had no numbers."""
    bad = [scan for scan in scans if scan.n_not_finite]
    zero = [scan for scan in scans if scan.is_zero and scan.is_matrix]
    constant = [scan for scan in scans if scan.is_constant and not scan.is_zero]
    unscanned = [scan for scan in scans if not scan.n_numbers]
    not_scanned: Counter[str] = Counter()
    for scan in unscanned:
        not_scanned[scan.type_name] += scan.n_bytes
    details = {
        "n_tensors": len(scans),
        "n_bytes": sum(scan.n_bytes for scan in scans),
        "seconds": round(seconds, 4),
        "not_finite": {printable(scan.name): scan.n_not_finite for scan in bad[:_MOST_NAMED]},
        "all_zero": [printable(scan.name) for scan in (*zero, *constant)[:_MOST_NAMED]],
        "not_scanned": dict(not_scanned),
    }
    problems = []
    if bad:
        which = listed([_share_not_finite(scan) for scan in bad])
        problems.append(f"{len(bad)} of {len(scans)} tensors hold NaN or Inf: {which}")
    if zero:
        which = listed([scan.name for scan in zero])
        problems.append(f"{len(zero)} of {len(scans)} tensors are all zero: {which}")
    if constant:
        which = listed([scan.name for scan in constant])
        problems.append(f"{len(constant)} of {len(scans)} tensors hold one code only: {which}")
    if not scans:
        problems.append("there are no tensors")
    if problems:
        text = f"{'; '.join(problems)}. Download or quantize it again."
    else:
        left_out = f"; {of_others} {counted(len(unscanned), 'tensor')}" if unscanned else ""
        text = f"{counted(len(scans), 'tensor')}, every number finite{left_out}"
    return Finding(check="integrity.weights", holds=not problems, text=text, details=details)


def _share_not_finite(scan: TensorScan) -> str:
    of_what = "numbers" if scan.type_name in UNQUANTIZED else "scales"
    return f"{scan.name} ({scan.n_not_finite} of {scan.n_numbers} {of_what})"


def _contradiction(scheme: str, tensors: Sequence[TensorInfo]) -> str | None:
    """What in the tensors cannot be, if the file is of this scheme."""
    main = MAIN_TYPE[scheme]
    fitting = [t for t in tensors if not t.shape[0] % TYPES_BY_NAME[main].block_elements]
    quantized = [tensor for tensor in tensors if tensor.type_name not in UNQUANTIZED]
    if main in UNQUANTIZED:
        if quantized:
            names = listed([tensor.name for tensor in quantized])
            return f"claims {scheme}, but {len(quantized)} of {len(tensors)} are quantized: {names}"
    else:
        could = [t for t in tensors if _fallback_type(main, t) not in UNQUANTIZED]
        if not quantized:
            return f"claims {scheme}, but none of {len(tensors)} weight tensors is quantized"
        share = sum(t.n_bytes for t in quantized) / sum(t.n_bytes for t in could or quantized)
        if share < LEAST_QUANTIZED_SHARE:
            return f"claims {scheme}, but only {share:.0%} of the weight bytes are quantized"
    mains = {main, *({"Q8_0"} if scheme == "MXFP4_MOE" else ())}
    if (
        fitting
        and not any(tensor.type_name in mains for tensor in fitting)
        and not _are_fallbacks(scheme, tensors)
    ):
        return f"claims {scheme}, but no weight tensor is {main} ({len(fitting)} could be)"
    return _bits_contradiction(scheme, tensors) or _too_few_bits("claims", scheme, tensors)


def _misnomer(path: Path, tensors: Sequence[TensorInfo]) -> str | None:
    """What is wrong where the file's name tells of more bits than are in it."""
    found = [one for one in _NAMED.findall(path.name.upper()) if one in MAIN_TYPE]
    return _too_few_bits("is named", found[-1], tensors) if found else None


def _are_fallbacks(scheme: str, tensors: Sequence[TensorInfo]) -> bool:
    """Whether this is what llama.cpp's quantizer makes of a model for which the main type is none.

    Rows that are no multiple of its block got the fallback type, and all others in the layers what
    the scheme mixes in: of Q2_K at a width of 576 nothing is Q2_K.
    """
    main, mixed = MAIN_TYPE[scheme], MIXED_IN.get(scheme, frozenset())
    block = TYPES_BY_NAME[main].block_elements
    matrices = block_matrices(tensors)
    narrow = [tensor for tensor in matrices if tensor.shape[0] % block]
    others = [tensor for tensor in matrices if not tensor.shape[0] % block]
    allowed = {_fallback_type(name, tensor) for tensor in narrow for name in (main, *mixed)}
    return (
        bool(narrow)
        and all(tensor.type_name in {*allowed, *UNQUANTIZED} for tensor in narrow)
        and all(tensor.type_name in {*mixed, *UNQUANTIZED} for tensor in others)
    )


def _too_few_bits(says: str, scheme: str, tensors: Sequence[TensorInfo]) -> str | None:
    """What is wrong where the layers have fewer bits than a file of this scheme can have.

    Of a mix the fewest count (`qgate.artifacts.bits`). A scheme's mix takes at most 0.2 from its
    main type's bits (IQ3_XS); the neighbour below has 0.6 to 1 bit less.
    """
    matrices, main = block_matrices(tensors), MAIN_TYPE[scheme]
    if not matrices or main in UNQUANTIZED:
        return None
    fewest = effective_bits(stored_as(tensor, _fallback_type(main, tensor)) for tensor in matrices)
    got = effective_bits(stored_as(tensor, tensor.type_name) for tensor in matrices)
    if got >= fewest - MOST_BITS_BELOW:
        return None
    least = f"at least {fewest - MOST_BITS_BELOW:.2f}"
    return f"{says} {scheme}: got {got:.2f} effective bits a weight in its layers; expected {least}"


def _bits_contradiction(scheme: str, tensors: Sequence[TensorInfo]) -> str | None:
    main = MAIN_TYPE[scheme]
    # embedding and output matrix are often larger types, and most of a small model
    tensors = block_matrices(tensors) or tensors
    bits = _bits_per_weight(tensors)
    low = LEAST_SHARE_OF_BITS * TYPES_BY_NAME[main].bits_per_weight
    largest = "Q8_0" if scheme == "MXFP4_MOE" else main
    n_elements = sum(tensor.n_elements for tensor in tensors)
    # weighted by what each tensor's row length allows: a fallback to a larger type is no lie
    allowed = sum(
        t.n_elements * TYPES_BY_NAME[_fallback_type(largest, t)].bits_per_weight for t in tensors
    )
    high = allowed / n_elements + MOST_BITS_BEYOND
    if low <= bits <= high:
        return None
    return f"claims {scheme}: got {bits:.2f} bits per weight; expected {low:.2f} to {high:.2f}"


def _fallback_type(main: str, tensor: TensorInfo) -> str:
    """The type that llama.cpp's quantizer takes for this row length."""
    for name in (main, FALLBACK.get(main, main)):
        if not tensor.shape[0] % TYPES_BY_NAME[name].block_elements:
            return name
    return "F16"


def _bits_per_weight(tensors: Sequence[TensorInfo]) -> float:
    n_elements = sum(tensor.n_elements for tensor in tensors)
    return 8 * sum(tensor.n_bytes for tensor in tensors) / n_elements


def _stored_as(tensors: Sequence[TensorInfo]) -> str:
    """`Q4_K 91 %, Q6_K 9 % of the bytes, 4.85 bits per weight`."""
    if not tensors:
        return "nothing"
    shares = shares_of_bytes(bytes_by_type(tensors))
    return f"{shares}, {_bits_per_weight(tensors):.2f} bits per weight"


def shares_of_bytes(sizes: Mapping[str, int]) -> str:
    """`Q4_K 91 %, Q6_K 9 % of the weight bytes`: of the types that take most of them."""
    total = sum(sizes.values())
    shares = ", ".join(f"{name} {size / total:.0%}" for name, size in list(sizes.items())[:4])
    return f"{shares} of the weight bytes"


def compare_part(part: Part, artifact: TokenizerFacts, reference: TokenizerFacts) -> Finding:
    """A row of tokens: this part of the tokenizer is the reference's, or is in neither file."""
    n_keys = len(artifact.parts[part])
    differs = difference(artifact, reference, part)
    if differs is not None:
        text = f"not the reference's: {differs}. Convert both from the same reference."
    elif n_keys:
        text = f"the reference's ({counted(n_keys, 'key')})"
    else:
        text = f"no {part.replace('_', ' ')} in either file"
    # without a tokenizer there is no common ground for any other row
    holds = differs is None and (n_keys > 0 or part != "tokenizer")
    details = {"digest": artifact.digests[part], "reference_digest": reference.digests[part]}
    return Finding(check=f"integrity.{part}", holds=holds, text=text, details=details)


def by_ids(found: Finding, differing: str) -> Finding:
    """What `compare_part` found of tokenizers of different formats, and the ids of texts."""
    if differing:
        text = f"not the reference's: {differing}. Convert it again from the reference."
        return dataclasses.replace(found, holds=False, text=text)
    return dataclasses.replace(found, text=f"{found.text}; the same texts get the same ids")


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
