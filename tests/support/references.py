"""Measures references in real children, for tests: plans, runs, and what was asked of the child."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.artifacts import digest, discover
from qgate.reference.distributions import Plan, Reference, ReferenceStore
from qgate.reference.signing import find_key
from qgate.reference.texts import find_text
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.served_model import LoadOptions, ServedModel
from qgate.thresholds import TextSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = TextSettings(source="generated", windows=6, window_tokens=64)


class Recording(Host):
    """A host that notes what it was asked."""

    def __init__(self, settings: HostSettings, verbs: list[str]) -> None:
        self.verbs = verbs
        super().__init__(settings)

    def call(self, verb: str, request: object) -> Any:
        self.verbs.append(verb)
        return super().call(verb, request)


def make_plan(path: Path, settings: TextSettings = SETTINGS, **changes: Any) -> Plan:
    [artifact] = discover([path])
    text = find_text(settings, path.parent)
    plan = Plan(artifact=artifact, digest=digest(artifact), text=text, settings=settings)
    return dataclasses.replace(plan, **changes)


def measure(
    store: Path, plan: Plan, runtime: str = "fake", stall_s: float = 30.0
) -> tuple[Reference, list[str]]:
    verbs: list[str] = []
    settings = HostSettings(runtime=runtime, stall_s=stall_s)
    with serve(plan, lambda: Recording(settings, verbs)) as serving:
        found = ReferenceStore(store).get_or_measure(plan, serving)
    return found, verbs


def serve(plan: Plan, start: Callable[[], Host]) -> contextlib.closing[ServedModel]:
    """The plan's reference, being served until the end of the block."""
    size = min(plan.settings.window_tokens, plan.artifact.context_length or 2**31)
    return contextlib.closing(ServedModel(plan.artifact, start, LoadOptions(window_tokens=size)))


def arrays(reference: Reference) -> dict[str, bytes]:
    loaded = {
        "ids": reference.windows.ids,
        "clusters": reference.windows.clusters,
        "scored": reference.windows.scored,
        "nll": reference.nll_nats,
        "compared": reference.compared,
        "anchors": reference.anchors,
        "tops": reference.tops,
        "top_logprobs": reference.top_logprobs,
        "kept": np.load(reference.stored.array),
    }
    return {name: array.tobytes() for name, array in loaded.items() if array is not None}


def signed_place(store: Path, name: str) -> Path:
    """Where the entry of that name lies that this user signed."""
    return store / f"{name}-{find_key(os.environ).name}"


def entries(store: Path) -> list[str]:
    """What lies in a store beside its lock and the notes of running gates."""
    if not store.is_dir():
        return []
    names = [path.name for path in store.iterdir()]
    return [name for name in names if name != ".lock" and not name.startswith(".run-")]
