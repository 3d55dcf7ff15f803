"""Which runtimes there are; which one serves an artifact is in `qgate.runtimes.selection`.

Each is one `RuntimeSpec`: those of `SHIPPED` are in `qgate/runtimes/NAME/spec.py`, those of other
packages are named by entry points of the group `qgate.runtimes`.
"""

from __future__ import annotations

import dataclasses
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from qgate.report.text import escape_line
from qgate.runtimes.spec import RuntimeSpec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from qgate.runtimes.base import Runtime

SHIPPED = ("llama_cpp", "transformers", "vllm", "openai_server", "fake")
GROUP = "qgate.runtimes"


def names() -> tuple[str, ...]:
    """Every runtime that can be named, other packages' included."""
    others = (entry.name for entry in entry_points(group=GROUP))
    return tuple(sorted({*SHIPPED, *others}))


def specs() -> tuple[RuntimeSpec, ...]:
    """Of every runtime, the shipped ones first."""
    found = (_read(entry)[0] or _of_adapter(entry) for entry in _others())
    return (*map(_shipped, SHIPPED), *found)


def complaints() -> tuple[str, ...]:
    """Of entry points that name no spec, a line each; such a runtime serves where it is named."""
    return tuple(
        f"{GROUP}: {entry.name}: got {entry.value}, which {problem}; it serves only where it is"
        " named. Name a qgate.runtimes.spec.RuntimeSpec, whose adapter it is"
        for entry in _others()
        if (problem := _read(entry)[1])
    )


def options() -> dict[str, type]:
    """What can be set for each runtime under `runtimes` in a thresholds file."""
    return {name: find_spec(name).options for name in dict.fromkeys((*SHIPPED, *names()))}


def find_spec(name: str) -> RuntimeSpec:
    """The runtime of that name, which `names` has.

    Raises:
        LookupError: there is none.
    """
    if name in SHIPPED:
        return _shipped(name)
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        raise LookupError(name)
    return _read(found[0])[0] or _of_adapter(found[0])


def make(name: str) -> Runtime:
    """The adapter itself; called in the child only."""
    adapter: Runtime = _attribute(find_spec(name).adapter)()
    return adapter


def _others() -> list[EntryPoint]:
    return [entry for entry in entry_points(group=GROUP) if entry.name not in SHIPPED]


def _shipped(name: str) -> RuntimeSpec:
    spec: RuntimeSpec = import_module(f"qgate.runtimes.{name}.spec").SPEC
    return spec


def _read(entry: EntryPoint) -> tuple[RuntimeSpec | None, str]:
    """What the entry point names, or None and why that is no spec."""
    try:
        found = entry.load()
    except Exception as error:  # noqa: BLE001 - the child imports it again and ends by it
        line = escape_line(f"{type(error).__name__}: {error}")
        return None, f"cannot be imported here ({line})"
    if not isinstance(found, RuntimeSpec):
        return None, "is no RuntimeSpec"
    return dataclasses.replace(found, name=entry.name), ""


def _of_adapter(entry: EntryPoint) -> RuntimeSpec:
    """Of an entry point that names an adapter's class, as all did before there were specs."""
    return RuntimeSpec(name=entry.name, title=entry.name, adapter=entry.value)


def _attribute(target: str) -> Any:  # noqa: ANN401 - whatever has that name
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
