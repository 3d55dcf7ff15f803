"""Which keys a thresholds file may have, as tables: the reader and the JSON schema both use them.

A new key is one row here and one field in `model.py`; how limits are written is in
`limit_forms.py`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.thresholds.settings import Inheritance

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
OFF = "off"
"""Written in place of a limit: the inherited one is dropped on purpose."""
SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "version": "The version of this format: 1.",
        "inherit": str(Inheritance.model_fields["inherit"].description),
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
