"""One model in its one child process: started on first use, loaded once, its time accounted for."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from qgate.errors import QGateError
from qgate.records import Artifact, RuntimeFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How the run wants a model to be loaded, beside what its own files say."""

    window_tokens: int = 512
    context_tokens: int | None = None
    """The longest sequence of the run; None: as long as the model can."""
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """The runtime's own section of the thresholds file."""


class PhaseWatch(Protocol):
    """Told when a phase of one model begins and ends."""

    def begin(self, phase: str) -> None:
        """It begins, or goes on."""

    def end(self, phase: str, seconds: float) -> None:
        """It ends, or another goes on; the seconds are its own."""


class Serving:
    """An artifact or the original, being served."""

    def __init__(
        self,
        artifact: Artifact,
        start: Callable[[], Host],
        loading: Loading | None = None,
        watch: PhaseWatch | None = None,
    ) -> None:
        self.artifact = artifact
        self.seconds: dict[str, float] = {}
        """Spent in each phase, by its name."""
        self._start = start
        self._loading = loading or Loading()
        self._watch = watch
        self._host: Host | None = None
        self._facts: ModelFacts | None = None
        self._refusal: QGateError | None = None
        self._runtime: RuntimeFacts | None = None

    @property
    def host(self) -> Host:
        if self._host is None:
            self._host = self._start()
        return self._host

    def describe(self) -> RuntimeFacts:
        """What serves it; no model is loaded for that, but a server has to be asked."""
        if self._runtime is None:
            if "url" in self._loading.options:
                self.load()
            self._runtime = RuntimeFacts(**self.host.call("describe"))
        return self._runtime

    @property
    def is_on_gpu(self) -> bool:
        """Whether its child runs, and not on the CPU alone; one that says nothing may."""
        if self._host is None:
            return False
        with suppress(QGateError):
            return self.describe().device != "cpu"
        return True

    @property
    def kernel(self) -> str:
        """What multiplies its weight matrices; empty while it is not loaded."""
        return self._facts.kernel if self._facts else ""

    def load(self) -> ModelFacts:
        """Load the model, the first time.

        Raises:
            QGateError: it cannot be loaded; the same each time.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._facts is None:
            try:
                self._facts = self._load()
            except QGateError as error:
                self._refusal = error
                raise
        return self._facts

    def _load(self) -> ModelFacts:
        from qgate.runtimes.base import ModelFacts

        wanted, quantize = self._loading, self.artifact.quantize
        with self.phase("load"):
            loaded = self.host.call(
                "load",
                path=str(self.artifact.path.absolute()),
                window_tokens=wanted.window_tokens,
                context_tokens=wanted.context_tokens,
                threads=wanted.threads,
                quantize=None if quantize is None else dict(quantize),
                options=dict(wanted.options),
                trust_remote_code=self.artifact.runs_code,
            )
        return ModelFacts.from_json(loaded)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book the block's time under this name; of phases within each other, the inner one's."""
        started, booked = time.monotonic(), sum(self.seconds.values())
        if self._watch is not None:
            self._watch.begin(name)
        try:
            yield
        finally:
            inner = sum(self.seconds.values()) - booked
            own = time.monotonic() - started - inner
            self.seconds[name] = self.seconds.get(name, 0.0) + own
            if self._watch is not None:
                self._watch.end(name, own)

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None
            self._facts = self._refusal = None
