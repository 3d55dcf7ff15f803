"""Which tool makes which format, and what has to be installed for it.

The versions are those that were tried together; others may do as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

GGUF = "gguf"
"""Made by llama.cpp in `qgate.demo.__main__`, and the only format unless others are asked for."""
LLMCOMPRESSOR = "llmcompressor"
_BASE = "pip install torch==2.13.0 transformers==5.17.0 accelerate==1.15.0"


class FormatError(Exception):
    """A format is unknown, its tool is missing or failed; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A library that quantizes, and the module here that drives it."""

    module: str
    """In `qgate.demo.formats`; empty: nothing is quantized before the artifact is loaded."""
    packages: tuple[str, ...] = ()
    """Names to import; the first one stands for the tool in messages."""
    install: str = ""
    """The whole command."""
    environment: tuple[tuple[str, str], ...] = ()
    """Of the tool's process: names and values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What makes an artifact bad: it loads, and its layer is not what it was.

    scale: every second group's scale times four. roll: the rows of each matrix moved by half its
    height, as after a conversion with the wrong permutation. zero: a layer lost.
    """

    how: Literal["scale", "roll", "zero"]
    tensors: str
    """How the names of the tensors end."""
    axis: int = 0
    """Along which the groups lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one format is made."""

    tool: Tool
    says: str
    """One line for people."""
    damage: Damage
    suffix: str
    """Of the artifact's directory, after `qgate-demo-`."""


GPTQMODEL = Tool(
    module="gptqmodel",
    packages=("gptqmodel", "optimum", "transformers", "torch", "tokenizers"),
    install=(
        f"{_BASE} setuptools wheel ninja && pip install --no-build-isolation gptqmodel==7.6.0"
        " optimum==2.3.0 torch==2.13.0 transformers==5.17.0"
    ),
    # with one or two cores it gives itself one worker and then fails for want of two
    environment=(("GPTQMODEL_CPU_WORKERS", "2"),),
)
BITSANDBYTES = Tool(
    module="transformers",
    packages=("bitsandbytes", "transformers", "accelerate", "torch"),
    install=f"{_BASE} bitsandbytes==0.50.2",
)
TORCHAO = Tool(
    module="transformers",
    packages=("torchao", "transformers", "accelerate", "torch"),
    install=f"{_BASE} torchao==0.18.0",
)
COMPRESSOR = Tool(
    module=LLMCOMPRESSOR,
    packages=(LLMCOMPRESSOR, "datasets", "transformers", "torch", "tokenizers"),
    # its compressed-tensors is newer than the one that transformers and vLLM are tried with
    install=(
        "python -m venv llmc && llmc/bin/pip install torch==2.13.0 &&"
        " llmc/bin/pip install llmcompressor==0.14.0 torch==2.13.0 transformers==5.17.0,"
        " and add --llmcompressor-python llmc/bin/python"
    ),
)
AT_LOAD = Tool(module="")

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "gptq": Recipe(
            tool=GPTQMODEL,
            says="GPTQ, 4 bit, group 128",
            damage=Damage(how="scale", tensors="_proj.scales"),
            suffix="gptq",
        ),
        "awq": Recipe(
            tool=GPTQMODEL,
            says="AWQ, 4 bit, group 128, GEMM",
            damage=Damage(how="scale", tensors="_proj.scales"),
            suffix="awq",
        ),
        "nf4": Recipe(
            tool=BITSANDBYTES,
            says="bitsandbytes NF4",
            damage=Damage(how="scale", tensors="_proj.weight.absmax"),
            suffix="nf4",
        ),
        "nf4-double": Recipe(
            tool=BITSANDBYTES,
            says="bitsandbytes NF4, double quantization",
            # its scales are an offset and deviations; a wrong factor on those does little harm
            damage=Damage(how="roll", tensors="_proj.weight"),
            suffix="nf4-double",
        ),
        "nf4-at-load": Recipe(
            tool=AT_LOAD,
            says="float16 weights, bitsandbytes NF4 when loaded",
            damage=Damage(how="roll", tensors="_proj.weight"),
            suffix="nf4-at-load",
        ),
        "int8": Recipe(
            tool=BITSANDBYTES,
            says="bitsandbytes INT8",
            damage=Damage(how="zero", tensors="_proj.weight"),
            suffix="int8",
        ),
        "torchao": Recipe(
            tool=TORCHAO,
            says="torchao INT8, weights only",
            damage=Damage(how="roll", tensors="_proj._weight_qdata"),
            suffix="torchao-int8",
        ),
        "w4a16": Recipe(
            tool=COMPRESSOR,
            says="compressed-tensors W4A16, group 128",
            damage=Damage(how="scale", tensors="_proj.weight_scale", axis=1),
            suffix="w4a16",
        ),
        "w8a8": Recipe(
            tool=COMPRESSOR,
            says="compressed-tensors W8A8 INT8",
            damage=Damage(how="zero", tensors="_proj.weight"),
            suffix="w8a8",
        ),
        "fp8": Recipe(
            tool=COMPRESSOR,
            says="compressed-tensors FP8, dynamic",
            damage=Damage(how="roll", tensors="_proj.weight"),
            suffix="fp8",
        ),
    }
)
"""By the format's name on the command line, in the order in which they are made."""
