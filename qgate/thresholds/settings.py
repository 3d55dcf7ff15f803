"""What the sections say that hold no limits: each key with its bounds and its help, once.

Reader, error lines and JSON schema follow from these models.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, WithJsonSchema

from qgate.thresholds.fields import Expected

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_WHOLE = 2**31 - 1
TEXT_SOURCES = ("auto", "answers", "generated", "wikitext-2")
TEXT_SUFFIXES = (".txt", ".raw", ".jsonl", ".json")

Count = Annotated[int, Field(le=LARGEST_WHOLE)]


class Section(BaseModel):
    """A mapping of scalars in a thresholds file."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Inheritance(Section):
    """Whether the shipped file applies."""

    inherit: Literal["default", "none"] = Field(
        default="default",
        description="default (also when absent): the limits shipped in thresholds/default.yaml "
        "apply where this file says nothing. none: only this file.",
    )


def _text_file(source: str | Path) -> str | Path:
    if isinstance(source, Path) and source.suffix.lower() not in TEXT_SUFFIXES:
        raise ValueError
    if isinstance(source, Path) and not source.is_file():
        raise ValueError("no such file")
    return source


def _executable(path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise ValueError
    return path


Interpreter = Annotated[
    FilePath,
    AfterValidator(_executable),
    Expected("an executable file, absolute or relative to this file"),
]
"""Not resolved: a virtual environment's python is a link."""
_RuntimeName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
_Source = Annotated[
    Literal["auto", "answers", "generated", "wikitext-2"] | Path,
    AfterValidator(_text_file),
    Expected(
        f"{', '.join(TEXT_SOURCES)} or a path ending in {', '.join(TEXT_SUFFIXES)}, relative to "
        "this file"
    ),
    WithJsonSchema({"type": "string", "minLength": 1}),
]


class TextSettings(Section):
    """What perplexity and divergence are measured on."""

    source: _Source = Field(
        default="auto",
        description="auto | answers (of the reference to shipped prompts) | generated (by the "
        "reference from nothing) | wikitext-2 | a path relative to this file: .txt, .raw, .jsonl "
        "with a `text` field, .json with a list of strings. auto: WikiText-2 where it is on disk, "
        "else answers.",
    )
    windows: Count = Field(
        default=32, ge=2, description="How many windows at most; an interval needs two."
    )
    window_tokens: Count = Field(
        default=512,
        ge=16,
        description="Tokens a window; its second half is scored, as llama.cpp's perplexity does.",
    )
    conversation_tokens: Count = Field(
        default=320,
        ge=16,
        description="Tokens a window where the text is the reference's answers. A template that "
        "puts much before the first prompt gets more, up to window_tokens.",
    )
    seed: Count = Field(
        default=0,
        ge=0,
        description="Chooses generated text, windows, and the prompts and long texts of edge "
        "cases.",
    )
    extend: bool = Field(
        default=True,
        description="Whether the reference writes as many windows again where all of them leave a "
        "row open whose value is more than 15 % from its limit; of a text that it writes itself.",
    )
    positions: Literal["auto", "all"] = Field(
        default="auto",
        description="Where whole distributions are compared. auto: at every scored token, or at "
        "an even sample of them where that would cost much time or space. all: at every one.",
    )


class RuntimeSettings(Section):
    """What serves the artifacts. Whether a runtime exists is for the runtimes to say."""

    name: Annotated[_RuntimeName | None, Expected("the name of a runtime such as llama_cpp")] = (
        Field(
            default=None,
            description="The runtime's name, e.g. llama_cpp; absent: chosen by the artifact's "
            "format.",
        )
    )
    reference: Annotated[
        _RuntimeName | None, Expected("the name of a runtime such as transformers")
    ] = Field(
        default=None,
        description="The runtime that serves the reference; absent: the artifact's own where the "
        "reference loads there. Another one measures the difference of the runtimes, too.",
    )
    python: Interpreter | None = Field(
        default=None,
        description="Another interpreter for the runtime, relative to this file; absent: this one.",
    )
    stall_s: float = Field(
        default=300.0, gt=0, description="Seconds without progress after which it counts as hung."
    )
    threads: int | None = Field(
        default=None, ge=1, le=4096, description="CPU threads; absent: the runtime decides."
    )


class EdgeSettings(Section):
    """How long the inputs and answers of `edge.*` are."""

    context_tokens: Count = Field(
        default=4096,
        ge=64,
        description="Longest input of edge.long_input; no more than the model's own context.",
    )
    answer_tokens: int = Field(
        default=72,
        ge=16,
        le=4096,
        description="Longest answer where a model writes until it ends by itself.",
    )
    long_texts: Count = Field(
        default=1,
        ge=1,
        description="Texts of edge.long_input, at most; of a shorter context as many as take as "
        "long.",
    )
    documents: Count = Field(
        default=12, ge=2, description="Documents of each language of edge.multilingual, at most."
    )
    languages: Count = Field(
        default=64,
        ge=1,
        description="Languages of edge.multilingual, at most: those that the reference knows best.",
    )
    prompts: Count = Field(
        default=32, ge=6, description="Prompts that are continued freely, at most."
    )
    math_items: Count = Field(default=150, ge=6, description="Items of edge.math, at most.")
    batch_prompts: Count = Field(
        default=32, ge=6, description="Prompts of edge.batch_invariance, at most."
    )


class LatencySettings(Section):
    """The requests of `latency.*`."""

    prompt_tokens: Count = Field(default=128, ge=1, description="Tokens of each request.")
    output_tokens: Count = Field(
        default=16, ge=8, description="Tokens of each answer, always all of them."
    )
    pairs: Count = Field(
        default=24,
        ge=6,
        description="Requests to the reference and the artifact each, in turns; a percentile needs "
        "many: p95 90, p99 459.",
    )
    warmup: Count = Field(
        default=1, ge=1, description="Requests to each before the first that counts."
    )


class MemorySettings(Section):
    """What is served for `memory.*`."""

    context_tokens: Count = Field(
        default=1024,
        ge=64,
        description="Tokens in the context of memory.peak; no more than the model's own.",
    )
    batches: Count = Field(default=40, ge=30, description="Identical batches of memory.growth.")
    warmup_batches: Count = Field(
        default=10,
        ge=1,
        description="Batches before the first that counts, until the allocator has settled.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """What a file sets for one runtime by its name."""

    python: Path | None = None
    """An executable file; it wins over that of `RuntimeSettings`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The other keys of its section that somebody wrote: values of the runtime's own model."""
