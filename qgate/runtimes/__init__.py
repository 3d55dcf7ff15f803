"""Which runtimes there are; which one fits an artifact is in `qgate.runtimes.selection`.

Adding one is a row in `ADAPTERS` (or an entry point in the group `qgate.runtimes`) and one file.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.runtimes.base import Runtime

ADAPTERS: Mapping[str, str] = MappingProxyType(
    {
        "llama_cpp": "qgate.runtimes.llama_cpp.adapter:LlamaCpp",
        "transformers": "qgate.runtimes.transformers.adapter:Transformers",
        "vllm": "qgate.runtimes.vllm.adapter:Vllm",
        "openai_server": "qgate.runtimes.openai_server.adapter:OpenAIServer",
        "fake": "qgate.runtimes.fake.adapter:Fake",
    }
)

_BEYOND: Mapping[str, frozenset[str]] = MappingProxyType(
    {"fake": frozenset({"memory"}), "openai_server": frozenset({"memory"})}
)
"""Lines of the checklist of which a runtime measures nothing."""


def beyond(name: str) -> frozenset[str]:
    """Lines of the checklist of which this runtime measures nothing."""
    return _BEYOND.get(name, frozenset())


def names() -> tuple[str, ...]:
    """Every runtime that can be named, other packages' included."""
    others = tuple(entry.name for entry in entry_points(group="qgate.runtimes"))
    return tuple(sorted({*ADAPTERS, *others}))


def make(name: str) -> Runtime:
    """The adapter itself; called in the child only."""
    target = ADAPTERS.get(name)
    if target is None:
        (entry,) = entry_points(group="qgate.runtimes", name=name)
        target = entry.value
    module, _, attribute = target.partition(":")
    adapter: Runtime = getattr(import_module(module), attribute)()
    return adapter
