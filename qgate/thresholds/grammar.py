"""Which keys a thresholds file may have, as tables: the reader and the JSON schema both use them.

A new key is one row here and one field in `model.py`; how limits are written is in
`limit_forms.py`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.thresholds.values import LARGEST_WHOLE, Leaf, Number, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
OFF = "off"
"""Written in place of a limit: the inherited one is dropped on purpose."""
TEXT_SOURCES = ("auto", "answers", "generated", "wikitext-2")
TEXT_SUFFIXES = (".txt", ".raw", ".jsonl", ".json")

INHERIT = Word(
    help="default (also when absent): the limits shipped in thresholds/default.yaml apply where "
    "this file says nothing. none: only this file.",
    choices=("default", "none"),
)

TEXT: Mapping[str, Leaf] = MappingProxyType(
    {
        "source": Word(
            help="auto | answers (of the original to shipped prompts) | generated (by the original "
            "from nothing) | wikitext-2 | a path relative to this file: .txt, .raw, .jsonl with a "
            "`text` field, .json with a list of strings. auto: WikiText-2 where it is on disk, "
            "else answers."
        ),
        "windows": Number(
            help="How many windows at most; an interval needs two.",
            whole=True,
            at_least=2,
            at_most=LARGEST_WHOLE,
        ),
        "window_tokens": Number(
            help="Tokens a window; its second half is scored, as llama.cpp's perplexity does.",
            whole=True,
            at_least=16,
            at_most=LARGEST_WHOLE,
        ),
        "conversation_tokens": Number(
            help="Tokens a window where the text is the original's answers. A template that puts "
            "much before the first prompt gets more, up to window_tokens.",
            whole=True,
            at_least=16,
            at_most=LARGEST_WHOLE,
        ),
        "seed": Number(
            help="Chooses generated text, windows, and the prompts and long texts of edge cases.",
            whole=True,
            at_least=0,
            at_most=LARGEST_WHOLE,
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
        "reference": Word(
            help="The runtime that serves the original; absent: the artifact's own where the "
            "original loads there. Another one measures the difference of the runtimes, too.",
            pattern="[a-z][a-z0-9_]*",
            constraint="the name of a runtime such as transformers",
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

_PYTHON = Word(
    help="Another interpreter for this runtime alone, relative to this file; absent: that of "
    "`runtime`, else this one."
)
_URL = Word(
    help="Where it answers, with the path before /chat/completions.",
    pattern=r"https?://[^/\s@?#]+(/[^\s@?#]*)?",
    constraint="an address such as http://127.0.0.1:8000/v1, without a login or a query in it",
)
_MODEL = Word(help="The model's name there; absent: the only one that it serves.")
_NO_OPTIONS: Mapping[str, Leaf] = MappingProxyType({"python": _PYTHON})
RUNTIMES: Mapping[str, Mapping[str, Leaf]] = MappingProxyType(
    {
        "llama_cpp": _NO_OPTIONS,
        "transformers": _NO_OPTIONS,
        "vllm": MappingProxyType(
            {
                "python": _PYTHON,
                "kv_cache_gib": Number(help="Size of the KV cache, in GiB.", above=0, unit="GiB"),
            }
        ),
        "openai_server": MappingProxyType(
            {
                "python": _PYTHON,
                "url": _URL,
                "model": _MODEL,
                "reference_url": _URL,
                "reference_model": _MODEL,
                "timeout_s": Number(
                    help="Seconds that one request may take.", above=0, at_most=86_400
                ),
            }
        ),
        "fake": _NO_OPTIONS,
    }
)
OTHER_RUNTIME = _NO_OPTIONS
"""What may be said of a runtime that another package brings."""

EDGE: Mapping[str, Leaf] = MappingProxyType(
    {
        "context_tokens": Number(
            help="Longest input of edge.long_input; no more than the model's own context.",
            whole=True,
            at_least=64,
            at_most=LARGEST_WHOLE,
        ),
        "answer_tokens": Number(
            help="Longest answer where a model writes until it ends by itself.",
            whole=True,
            at_least=16,
            at_most=4096,
        ),
        "long_texts": Number(
            help="Texts of edge.long_input, at most; of a shorter context as many as take as long.",
            whole=True,
            at_least=1,
            at_most=LARGEST_WHOLE,
        ),
        "documents": Number(
            help="Documents of each language of edge.multilingual, at most.",
            whole=True,
            at_least=2,
            at_most=LARGEST_WHOLE,
        ),
        "languages": Number(
            help="Languages of edge.multilingual, at most: those that the original knows best.",
            whole=True,
            at_least=1,
            at_most=LARGEST_WHOLE,
        ),
        "prompts": Number(
            help="Prompts that are continued freely, at most.",
            whole=True,
            at_least=6,
            at_most=LARGEST_WHOLE,
        ),
        "math_items": Number(
            help="Items of edge.math, at most.",
            whole=True,
            at_least=6,
            at_most=LARGEST_WHOLE,
        ),
        "batch_prompts": Number(
            help="Prompts of edge.batch_invariance, at most.",
            whole=True,
            at_least=6,
            at_most=LARGEST_WHOLE,
        ),
    }
)

LATENCY: Mapping[str, Leaf] = MappingProxyType(
    {
        "prompt_tokens": Number(
            help="Tokens of each request.", whole=True, at_least=1, at_most=LARGEST_WHOLE
        ),
        "output_tokens": Number(
            help="Tokens of each answer, always all of them.",
            whole=True,
            at_least=8,
            at_most=LARGEST_WHOLE,
        ),
        "pairs": Number(
            help="Requests to the original and the artifact each, in turns; a percentile needs "
            "many: p95 90, p99 459.",
            whole=True,
            at_least=6,
            at_most=LARGEST_WHOLE,
        ),
        "warmup": Number(
            help="Requests to each before the first that counts.",
            whole=True,
            at_least=1,
            at_most=LARGEST_WHOLE,
        ),
    }
)

MEMORY: Mapping[str, Leaf] = MappingProxyType(
    {
        "context_tokens": Number(
            help="Tokens in the context of memory.peak; no more than the model's own.",
            whole=True,
            at_least=64,
            at_most=LARGEST_WHOLE,
        ),
        "batches": Number(
            help="Identical batches of memory.growth.",
            whole=True,
            at_least=30,
            at_most=LARGEST_WHOLE,
        ),
        "warmup_batches": Number(
            help="Batches before the first that counts, until the allocator has settled.",
            whole=True,
            at_least=1,
            at_most=LARGEST_WHOLE,
        ),
    }
)

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "version": "The version of this format: 1.",
        "inherit": INHERIT.help,
        "text": "What perplexity and divergence are measured on.",
        "runtime": "What serves the artifacts while they are measured.",
        "runtimes": "By the runtime's name: its own interpreter, and what only it understands.",
        "tasks": "What the model is used for: a file of items each, or a task of lm-eval by its "
        "name, which original and artifact answer; each makes a row accuracy.NAME for every "
        "artifact.",
        "edge": "How long the inputs and answers of edge.* are.",
        "latency": "The requests of latency.*.",
        "memory": "What is served for memory.*.",
        "limits": "Limits for every artifact, by check.",
        "bands": "Limits by the bits that an artifact's weights really have; they win over "
        "`limits` of the same file.",
        "schemes": "Limits by quantization scheme, verbatim from the file (case does not matter); "
        "they win over `bands` of the same file.",
        "artifacts": "Limits by artifact id (globs such as llama-*); they win over `schemes` of "
        "the same file, and later ones over earlier ones.",
    }
)
