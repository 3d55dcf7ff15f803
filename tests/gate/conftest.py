"""Runs of the measurer over toy models, and what every child of them was asked."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.errors import QGateError
from qgate.gate.measurer import Measurer
from qgate.gate.processes import RunSettings
from qgate.measure.edge.free_running import FreeRunning
from qgate.measure.edge.invariance import BatchInvariance
from qgate.measure.edge.languages import Document, Multilingual
from qgate.planning.plan import plan_models
from qgate.runtimes import host as host_module
from qgate.runtimes.base import LoadSettings
from qgate.runtimes.host import Host
from qgate.thresholds import LatencySettings, MemorySettings, Thresholds
from tests.support.references import SETTINGS

if TYPE_CHECKING:
    from qgate.measure.probes import Probe
    from qgate.runtimes.served_model import ServedModel

Toys = Callable[..., Path]
Planted = Callable[[str], str]

PROBES: tuple[Probe, ...] = (
    Multilingual(
        # as if they were the same as long English texts, so that a toy has few bits a byte
        documents=tuple(
            Document(member=language, text=text, letters=1000)
            for language, text in (
                ("en", "Anna went home."),
                ("de", "Ja!"),
                ("en", "So Ida slept."),
                ("de", "Nein."),
            )
        )
    ),
    FreeRunning(prompts=tuple(f"prompt {number}" for number in range(20)), answer_tokens=32),
    BatchInvariance(prompts=("The", "I", "A", "We", "Yes", "No")),
)
CHECKS = ("edge.multilingual", "edge.repetition", "edge.termination", "edge.batch_invariance")
THRESHOLDS = Thresholds(
    text=SETTINGS,
    latency=LatencySettings(prompt_tokens=16, output_tokens=8, pairs=6, warmup=1),
    memory=MemorySettings(context_tokens=64, batches=30),
)


@dataclass
class Log:
    """What every child of a run was asked, by the model that it holds."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    started: int = 0
    alive: set[str] = field(default_factory=set)

    def verbs(self, model: str) -> list[str]:
        return [verb for name, verb in self.asked if name == model]

    def clear(self) -> None:
        self.asked.clear()
        self.started = 0


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()

    class Watched(Host):
        model = ""

        def __init__(self, *arguments: Any) -> None:
            found.started += 1
            super().__init__(*arguments)

        def call(self, verb: str, request: object) -> Any:
            if verb == "load":
                assert isinstance(request, LoadSettings)
                self.model = Path(request.path).stem
                found.alive.add(self.model)
            found.asked.append((self.model, verb))
            return super().call(verb, request)

        def close(self) -> None:
            found.alive.discard(self.model)
            super().close()

    monkeypatch.setattr(host_module, "Host", Watched)
    return found


@dataclass(kw_only=True)
class Run:
    """A run over a directory of models."""

    measurer: Measurer
    servings: dict[str, ServedModel]


Begin = Callable[..., contextlib.AbstractContextManager[Run]]


@pytest.fixture
def begin(tmp_path: Path, log: Log) -> Begin:
    """begin(models) -> a run, closed at the end of the block."""

    @contextlib.contextmanager
    def make(
        models: Path, *, runtime: str = "fake", probes: tuple[Probe, ...] = PROBES, **more: Any
    ) -> Any:
        found = {artifact.id: artifact for artifact in discover([models])}
        reference = found.pop("original", None)
        plan = plan_models(found.values(), reference, THRESHOLDS, tmp_path, runtime=runtime)
        settings = RunSettings(
            plan=plan,
            probes=lambda: probes,
            progress=lambda _: contextlib.nullcontext(lambda *_: None),
            **more,
        )
        measurer = Measurer(settings)
        servings = {name: measurer.children.serve(artifact) for name, artifact in found.items()}
        try:
            yield Run(measurer=measurer, servings=servings)
        finally:
            for serving in servings.values():
                serving.close()
            measurer.children.close()

    return make


def ask_everything(run: Run, name: str) -> list[object]:
    """Every kind of measurement that the fake runtime gives."""
    measurer, serving = run.measurer, run.servings[name]
    return [
        measurer.reference(serving),
        measurer.divergence(serving),
        *(measurer.probe(serving, check) for check in CHECKS),
        measurer.latency(serving),
    ]


def fail(call: Callable[..., object], *arguments: object) -> tuple[type[QGateError], str]:
    with pytest.raises(QGateError) as caught:
        call(*arguments)
    return type(caught.value), str(caught.value)


TELLING = """
import sys
from qgate.runtimes.base import Buffers
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def fill_context(self, tokens):
        return Buffers(
            weights_bytes=8192, kv_cache_bytes=512 * tokens, compute_bytes=4096,
            context_tokens=tokens,
        )
"""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def telling(planted: Planted) -> Callable[..., str]:
    """telling(more) -> the name of a fake runtime that says what it allocates."""
    return lambda more="": planted(TELLING + more)
