"""Quantize a GGUF file with llama.cpp's own quantizer, inside this process."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from qgate.runtimes.llama_cpp.log import LlamaLog

if TYPE_CHECKING:
    from pathlib import Path

SCHEMES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")


class QuantizeError(Exception):
    """The quantizer refused; carries the reason from its log."""


def quantize(
    source: Path, target: Path, scheme: str, *, is_pure: bool = False, threads: int = 2
) -> None:
    """Write `target` as `source` in another scheme.

    Args:
        source: an F16 GGUF file.
        target: written or overwritten.
        scheme: one of `SCHEMES`.
        is_pure: every matrix in that type, as `llama-quantize --pure` does; llama.cpp's own mixture
            gives more bits to the output matrix and some others.
        threads: of the quantizer.

    Raises:
        QuantizeError: the scheme is unknown or llama.cpp failed.
    """
    if scheme not in SCHEMES:
        raise QuantizeError(
            f"{target}: unknown scheme: got {scheme}; expected {', '.join(SCHEMES)}."
        )
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{scheme}")
    settings.nthread = threads
    settings.pure = is_pure
    log = LlamaLog(llama_cpp)
    code = llama_cpp.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(settings)
    )
    if code != 0:
        raise QuantizeError(f"{source}: llama.cpp cannot quantize to {scheme}: {log.reason()}")
