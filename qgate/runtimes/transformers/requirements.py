"""What a quantization scheme needs beside transformers: a package, a device.

The versions are those that were tried together with transformers 5.17 and torch 2.13. Which
packages a scheme needs is what the quantizers of transformers (`transformers/quantizers`) ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import RuntimeUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTRA = 'pip install "pytest-qgate[transformers]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Of one scheme."""

    packages: tuple[str, ...] = ()
    """Distributions, by their names on PyPI."""
    command: str = ""
    """What installs them."""
    is_for_gpu: bool = False
    """Whether its kernels run on a GPU only."""


_GPTQMODEL = Needs(
    packages=("gptqmodel", "optimum"),
    command='pip install --no-build-isolation "gptqmodel==7.6.0" "optimum==2.3.0"',
)
SCHEMES: Mapping[str, Needs] = MappingProxyType(
    {
        "gptq": _GPTQMODEL,
        "awq": _GPTQMODEL,
        "bitsandbytes": Needs(
            packages=("bitsandbytes",), command='pip install "bitsandbytes==0.50.2"'
        ),
        "compressed-tensors": Needs(
            packages=("compressed-tensors",), command='pip install "compressed-tensors==0.17.0"'
        ),
        "torchao": Needs(packages=("torchao",), command='pip install "torchao==0.18.0"'),
        "hqq": Needs(packages=("hqq",), command='pip install "hqq>=0.2.1"'),
        "quanto": Needs(packages=("optimum-quanto",), command="pip install optimum-quanto"),
        "aqlm": Needs(packages=("aqlm",), command='pip install "aqlm[gpu,cpu]"'),
        "quark": Needs(packages=("amd-quark",), command="pip install amd-quark"),
        "auto-round": Needs(packages=("auto-round",), command='pip install "auto-round>=0.5"'),
        "bitnet": Needs(),
        # its matrix product is a kernel of the hub: in the cache before it is needed, as nothing
        # is downloaded while an artifact is gated
        "fp8": Needs(
            packages=("kernels",), command='pip install "kernels>=0.12.0"', is_for_gpu=True
        ),
        "mxfp8": Needs(is_for_gpu=True),
        "nvfp4": Needs(is_for_gpu=True),
        "mxfp4": Needs(
            packages=("kernels",), command='pip install "kernels>=0.12.0"', is_for_gpu=True
        ),
        "fbgemm_fp8": Needs(
            packages=("fbgemm-gpu",), command="pip install fbgemm-gpu", is_for_gpu=True
        ),
        "eetq": Needs(packages=("kernels",), command="pip install kernels", is_for_gpu=True),
        "higgs": Needs(
            packages=("flute-kernel",), command='pip install "flute-kernel>=0.3.0"', is_for_gpu=True
        ),
        "vptq": Needs(packages=("vptq",), command='pip install "vptq>=0.0.4"', is_for_gpu=True),
        "spqr": Needs(
            packages=("spqr_quant",), command='pip install "spqr_quant[gpu]"', is_for_gpu=True
        ),
        "fp_quant": Needs(packages=("fp_quant",), command="pip install fp_quant", is_for_gpu=True),
    }
)
"""By `quant_method` of a config.json; one that is not here is left to transformers to refuse."""


def require(scheme: str, *, has_gpu: bool) -> None:
    """Raise RuntimeUnavailable where the scheme cannot run here, naming what is missing."""
    needs = SCHEMES.get(scheme, Needs())
    missing = [name for name in needs.packages if installed(name) is None]
    if needs.is_for_gpu and not has_gpu:
        raise RuntimeUnavailable(
            f"transformers: {scheme} needs a GPU: got none on this machine; expected one of"
            " NVIDIA's. Gate this artifact on a machine with a GPU"
        )
    if missing:
        raise RuntimeUnavailable(
            f"transformers: {scheme} needs {' and '.join(missing)}, which"
            f" {'is' if len(missing) == 1 else 'are'} not installed."
            f" Install with: {needs.command}"
        )


def installed(package: str) -> str | None:
    """Its version; None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> str:
    """Of everything that computes in some scheme and is here: `bitsandbytes 0.50.2 ...`."""
    names = dict.fromkeys(name for needs in SCHEMES.values() for name in needs.packages)
    found = {name: installed(name) for name in ("accelerate", *names)}
    return " ".join(f"{name} {known}" for name, known in found.items() if known)
