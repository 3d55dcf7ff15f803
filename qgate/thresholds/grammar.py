"""Which keys a thresholds file may have, as tables: the reader and the JSON schema both use them.

A new key is one row here and one field in `model.py`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.thresholds.scalars import Leaf, Number, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.checks import Check

VERSION = 1
OFF = "off"
"""Written in place of a limit: the inherited one is dropped on purpose."""
TEXT_SOURCES = ("auto", "generated", "wikitext-2")
TEXT_SUFFIXES = (".txt", ".raw", ".jsonl", ".json")
_LARGEST_WHOLE = 2**31 - 1

INHERIT = Word(
    help="default (also when absent): the limits shipped in thresholds/default.yaml apply where "
    "this file says nothing. none: only this file.",
    choices=("default", "none"),
)

TEXT: Mapping[str, Leaf] = MappingProxyType(
    {
        "source": Word(
            help="auto | generated (by the reference) | wikitext-2 | a path relative to this file: "
            ".txt, .raw, .jsonl with a `text` field, .json with a list of strings."
        ),
        "windows": Number(
            help="How many windows at most; an interval needs two.",
            whole=True,
            at_least=2,
            at_most=_LARGEST_WHOLE,
        ),
        "window_tokens": Number(
            help="Tokens a window; its second half is scored, as llama.cpp's perplexity does.",
            whole=True,
            at_least=16,
            at_most=_LARGEST_WHOLE,
        ),
        "seed": Number(
            help="Chooses generated text and windows.",
            whole=True,
            at_least=0,
            at_most=_LARGEST_WHOLE,
        ),
        "positions": Word(
            help="Where whole distributions are compared. auto: at every scored token, or at an "
            "even sample of them where that would cost much time or space. all: at every one.",
            choices=("auto", "all"),
        ),
    }
)

RUNTIME: Mapping[str, Leaf] = MappingProxyType(
    {
        "name": Word(
            help="The runtime's name, e.g. llama_cpp; absent: chosen by the artifact's format.",
            pattern="[a-z][a-z0-9_]*",
            constraint="the name of a runtime such as llama_cpp",
        ),
        "python": Word(
            help="Another interpreter for the runtime, relative to this file; absent: this one."
        ),
        "stall_s": Number(help="Seconds without progress after which it counts as hung.", above=0),
        "threads": Number(
            help="CPU threads; absent: the runtime decides.", whole=True, at_least=1, at_most=4096
        ),
    }
)

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "version": "The version of this format: 1.",
        "inherit": INHERIT.help,
        "text": "What perplexity and divergence are measured on.",
        "runtime": "What serves the artifacts while they are measured.",
        "limits": "Limits for every artifact, by check.",
        "schemes": "Limits by quantization scheme, verbatim from the file (case does not matter); "
        "they win over `limits` of the same file.",
        "artifacts": "Limits by artifact id (globs such as llama-*); they win over `schemes` of "
        "the same file, and later ones over earlier ones.",
    }
)


def limit_keys(check: Check) -> Mapping[str, Leaf]:
    """What may be written for a limit on this check: its own side, how it is judged, its unit."""
    if check.bound == "max":
        bound = Number(
            help=f"{check.claim} At most this ({check.unit}).",
            at_least=check.at_best,
            unit=check.unit,
        )
    else:
        bound = Number(
            help=f"{check.claim} At least this ({check.unit}).",
            above=0.0,
            at_most=check.at_best,
            unit=check.unit,
        )
    return {
        check.bound: bound,
        "rule": Word(
            help="certify (default): the far end of the interval must hold the limit. "
            "alarm: fails once damage is shown.",
            choices=("certify", "alarm"),
        ),
        "level": Number(help="Coverage of the interval, 0.95 if absent.", above=0.5, below=1.0),
        "unit": Word(help="For readers; must be the check's unit.", choices=(check.unit,)),
    }
