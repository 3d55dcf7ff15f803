"""One model in its one child process: started on first use, loaded once, its time accounted for."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from qgate.confinement.processors import usable_processors
from qgate.confinement.view import without_steps_up
from qgate.errors import QGateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qgate.records import Artifact, RuntimeFacts
    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.runtimes.recall import Recall


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How the run wants a model to be loaded, beside what its own files say."""

    window_tokens: int = 512
    context_tokens: int | None = None
    """The longest sequence of the run; None: as long as the model can."""
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """The runtime's own section of the thresholds file."""
    is_remote: bool = False
    """Whether a running server serves it, which has to be asked what it is."""
    has_fixed_context: bool = True
    """Whether the runtime sets memory aside for `context_tokens` when it loads."""

    def identity(self, quantize: Mapping[str, Any] | None) -> dict[str, Any]:
        """All of it that may change what the model answers, as JSON values.

        Threads are part of it: sums that are split in another way are rounded in another way, and
        a greedy answer may turn on that.

        Args:
            quantize: how the artifact says that it is quantized while it is loaded.
        """
        longest = self.context_tokens if self.has_fixed_context else None
        return {
            "window_tokens": self.window_tokens,
            "context_tokens": longest,
            "threads": self.threads,
            "cpus": usable_processors(),
            "quantize": None if quantize is None else _plain(quantize),
            "options": _plain(self.options),
        }


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dict(value), default=_to_json, sort_keys=True))
    return plain


def _to_json(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


class PhaseWatch(Protocol):
    """Told when a phase of one model begins and ends."""

    def begin(self, phase: str) -> None:
        """It begins, or goes on."""

    def end(self, phase: str, seconds: float) -> None:
        """It ends, or another goes on; the seconds are its own."""


class ServedModel:
    """An artifact or the reference, being served.

    Args:
        artifact: what is served.
        start: starts its child.
        loading: how it is loaded.
        recall: what it answered in earlier runs; the model is then loaded when there is something
            that it has to be asked.
        watch: is told of its phases.
    """

    def __init__(
        self,
        artifact: Artifact,
        start: Callable[[], Host],
        loading: LoadOptions | None = None,
        recall: Recall | None = None,
        watch: PhaseWatch | None = None,
    ) -> None:
        self.artifact = artifact
        self.seconds: dict[str, float] = {}
        """Spent in each phase, by its name."""
        self._start = start
        self._loading = loading or LoadOptions()
        self._watch = watch
        self._recall = recall
        self._host: Host | None = None
        self._facts: ModelFacts | None = None
        self._recalled: ModelFacts | None = None
        self._refusal: QGateError | None = None
        self._runtime: RuntimeFacts | None = None

    @property
    def host(self) -> Host:
        """Whom to ask; where answers are kept, one who knows them without asking the model."""
        if self._recall is None:
            return self._child()
        from qgate.runtimes.recall import RecallingHost

        return RecallingHost(
            self._recall, self.describe, self._child, self._loaded_child, self._n_vocab
        )

    def _n_vocab(self) -> int | None:
        known = self._facts or self._recalled
        return known.n_vocab if known else None

    def _child(self) -> Host:
        if self._host is None:
            self._host = self._start()
        return self._host

    def _loaded_child(self) -> Host:
        self.load_now()
        return self._child()

    def describe(self) -> RuntimeFacts:
        """What serves it; no model is loaded for that, but a server has to be asked."""
        from qgate.runtimes.verbs import DESCRIBE

        if self._runtime is None:
            if self._loading.is_remote:
                self.load_now()
            self._runtime = DESCRIBE.ask(self._child(), None)
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
        """What multiplies its weight matrices; empty while that is not known."""
        known = self._facts or self._recalled
        return known.kernel if known else ""

    @property
    def from_store(self) -> dict[str, Any]:
        """What the report tells of answers that were kept; empty where none are."""
        return self._recall.describe() if self._recall else {}

    @property
    def loaded_as(self) -> dict[str, Any]:
        """How it is loaded, as far as that may change answers: JSON values."""
        from qgate.runtimes.recall import environment_of

        identity = self._loading.identity(self.artifact.quantize)
        return {**identity, "environment": environment_of(os.environ)}

    def load(self) -> ModelFacts:
        """What the runtime says of the model: loaded now, or as it said when it answered before.

        Raises:
            QGateError: it cannot be loaded; the same each time.
        """
        from qgate.runtimes.verbs import LOAD

        if self._recall is None or self._refusal is not None:
            return self.load_now()
        if self._recalled is None:
            known = self._recall.answer(
                self.describe(), "load", None, lambda: dataclasses.asdict(self.load_now())
            )
            self._recalled = LOAD.read(known)
        return self._recalled

    def load_now(self) -> ModelFacts:
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
        from qgate.runtimes.base import LoadSettings
        from qgate.runtimes.verbs import LOAD

        wanted = self._loading
        with self.phase("load"):
            settings = LoadSettings(
                path=str(without_steps_up(self.artifact.path)),
                window_tokens=wanted.window_tokens,
                context_tokens=wanted.context_tokens,
                threads=wanted.threads,
                quantize=self.artifact.quantize,
                options=dict(wanted.options),
                trust_remote_code=self.artifact.runs_code,
            )
            return LOAD.ask(self._child(), settings)

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
