"""Which runtimes there are, and which one fits an artifact.

Adding one is a row in `ADAPTERS` (or an entry point in the group `qgate.runtimes`) and one file.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import RuntimeUnavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Artifact
    from qgate.runtimes.base import Runtime

ADAPTERS: Mapping[str, str] = MappingProxyType(
    {
        "llama_cpp": "qgate.runtimes.llama_cpp:LlamaCpp",
        "fake": "qgate.runtimes.fake:Fake",
    }
)

_DEFAULT_FOR_FORMAT: Mapping[str, str] = MappingProxyType({"gguf": "llama_cpp"})


_BEYOND: Mapping[str, frozenset[str]] = MappingProxyType({"fake": frozenset({"memory"})})
"""Lines of the checklist of which a runtime measures nothing."""


def beyond(name: str) -> frozenset[str]:
    """Lines of the checklist of which this runtime measures nothing."""
    return _BEYOND.get(name, frozenset())


def names() -> tuple[str, ...]:
    """Every runtime that can be named, other packages' included."""
    others = tuple(entry.name for entry in entry_points(group="qgate.runtimes"))
    return tuple(sorted({*ADAPTERS, *others}))


def choose(artifact: Artifact, override: str | None) -> str:
    """The runtime that serves this artifact.

    Raises:
        UsageError: `override` names no runtime.
        RuntimeUnavailable: no runtime of this version serves the format.
    """
    if override is not None:
        if override not in names():
            close = difflib.get_close_matches(override, names(), n=1, cutoff=0.6)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UsageError(
                f"--qgate-runtime: unknown runtime: got {override!r};"
                f" expected one of {', '.join(names())}.{hint}"
            )
        return override
    try:
        return _DEFAULT_FOR_FORMAT[artifact.format]
    except KeyError:
        raise RuntimeUnavailable(
            f"{artifact.id}: no runtime for a Hugging Face directory in this version:"
            f" got format {artifact.format!r}; expected gguf. Convert it to GGUF to gate it"
        ) from None


def make(name: str) -> Runtime:
    """The adapter itself; called in the child only."""
    target = ADAPTERS.get(name)
    if target is None:
        (entry,) = entry_points(group="qgate.runtimes", name=name)
        target = entry.value
    module, _, attribute = target.partition(":")
    adapter: Runtime = getattr(import_module(module), attribute)()
    return adapter
