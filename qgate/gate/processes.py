"""Which child serves which model: one for each artifact, and one for the reference in each runtime.

Nothing is started before something is asked; who measures what is in `qgate.gate.measurer`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.artifacts.walk import refusal
from qgate.confinement.view import without_steps_up
from qgate.gate.file_identity import FileIdentity
from qgate.planning.runtime_choice import OF_THE_REFERENCE
from qgate.reference.store import DEFAULT_GIB, Store
from qgate.runtimes import find_spec
from qgate.runtimes.served_model import LoadOptions, ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from qgate.measure.probes import Probe
    from qgate.planning.plan import RunPlan
    from qgate.records import Artifact
    from qgate.runtimes.confined.child_view import Reach
    from qgate.runtimes.confined.starting import Confinement
    from qgate.runtimes.host import Host, ProgressSink
    from qgate.runtimes.recall import Recall
    from qgate.runtimes.served_model import PhaseWatch

DEFAULT_STORE = Path(".qgate")
"""In the directory of the run."""
_ENTRIES = "references"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run was told, as far as measuring needs it."""

    plan: RunPlan
    probes: Callable[[], tuple[Probe, ...]]
    """What fills the rows of tasks and edge cases; called when the first of them is measured."""
    progress: Callable[[str], AbstractContextManager[ProgressSink]]
    """progress(subject) shows what is reported to it while the block runs."""
    watch: Callable[[str], PhaseWatch | None] = lambda subject: None
    """watch(subject) is told of the phases of that model."""
    store: Path | None = None
    """Where measurements are kept; None: in `.qgate` of the directory."""
    store_gib: float = DEFAULT_GIB
    """So much of them."""
    confinement: Confinement | None = None
    """How children are confined; None: they are not."""
    recalls: bool = True
    """Whether an artifact is not asked again what it answered in an earlier run."""

    @property
    def entries(self) -> Path:
        """The directory of the store's entries."""
        return (self.store or self.plan.directory / DEFAULT_STORE) / _ENTRIES


def _restarting(start: Callable[[], Host]) -> Host:
    """What all artifacts are held against is not lost with one crash."""
    from qgate.runtimes.restarting import RestartingHost

    return RestartingHost(start)


class ModelProcesses:
    """The models of a run and the processes that hold them."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings, self.plan = settings, settings.plan
        entries = without_steps_up(settings.entries)
        self.store = Store(entries, settings.store_gib * 2**30)
        found = [one.artifact for one in self.plan.artifacts]
        self.files = FileIdentity([*found, *filter(None, [self.plan.reference])])
        self._servings: dict[str, ServedModel] = {}
        self._references: dict[str, ServedModel] = {}
        self._compiled: set[tuple[str, tuple[str, ...]]] = set()

    def is_served(self, artifact: Artifact) -> bool:
        """Whether a child was made for it, started or not."""
        return artifact.id in self._servings

    def digest(self, artifact: Artifact) -> str:
        """`sha256:...` over its files, read once a run."""
        return self.files.digest(artifact)

    def require_unchanged(self, artifact: Artifact) -> None:
        """Refuse to believe what was measured if its files, or the reference's, are others now.

        What is held against the reference reads the reference's output matrix again.

        Raises:
            ArtifactError: a file was replaced or written to since it was found.
        """
        self.files.require_unchanged(artifact)
        if self._references and self.plan.reference is not None:
            self.files.require_unchanged(self.plan.reference)

    # --- the children -------------------------------------------------------------------------

    def serve(self, artifact: Artifact) -> ServedModel:
        """The artifact's one child; nothing starts before it is asked something."""
        runtime = self.plan.runtime_of(artifact).name
        options = self._options(runtime, is_reference=False)
        self._servings[artifact.id] = self._serving(artifact, artifact.id, runtime, options)
        return self._servings[artifact.id]

    def of(self, artifact: Artifact) -> ServedModel:
        """The child that `serve` gave for the artifact."""
        return self._servings[artifact.id]

    def serve_reference(self, runtime: str) -> ServedModel:
        """The reference's child in a runtime: one for the run, for all that is held against it."""
        if runtime not in self._references:
            reference = self.plan.require_reference()
            options = self._options(runtime, is_reference=True)
            subject = f"reference {reference.id}"
            self._references[runtime] = self._serving(
                reference, subject, runtime, options, is_reference=True
            )
        return self._references[runtime]

    @property
    def references(self) -> Mapping[str, ServedModel]:
        """The reference's children by runtime, where something was asked of them."""
        return self._references

    def free_devices(self) -> None:
        """End those of the reference's children that hold memory of a GPU."""
        for serving in self._references.values():
            if serving.is_on_gpu:
                serving.close()

    def close(self) -> None:
        """End the reference's children; asked again, they start again."""
        for serving in self._references.values():
            serving.close()
        self.store.close()

    def _options(self, runtime: str, *, is_reference: bool) -> dict[str, Any]:
        """A runtime's options; for the reference those meant for it, by their plain names."""
        section = self.plan.thresholds.runtimes.get(runtime)
        given = section.options if section else {}
        meant = {key: given[key] for key in given if key.startswith(OF_THE_REFERENCE)}
        plain = {key: given[key] for key in given if key not in meant}
        if not is_reference:
            return plain
        return {**plain, **{key.removeprefix(OF_THE_REFERENCE): meant[key] for key in meant}}

    def _serving(
        self,
        artifact: Artifact,
        subject: str,
        runtime: str,
        options: Mapping[str, Any],
        *,
        is_reference: bool = False,
    ) -> ServedModel:
        thresholds, spec = self.plan.thresholds, find_spec(runtime)
        longest = (self.plan.reference or artifact).context_length or 2**31
        text_tokens = max(thresholds.text.window_tokens, thresholds.text.conversation_tokens)
        wanted = max(
            text_tokens,
            thresholds.edge.context_tokens,
            thresholds.memory.context_tokens,
            thresholds.latency.prompt_tokens + thresholds.latency.output_tokens,
        )
        loading = LoadOptions(
            window_tokens=min(text_tokens, longest),
            context_tokens=min(wanted, longest),
            threads=thresholds.runtime.threads,
            options=options,
            is_remote=spec.is_remote,
            has_fixed_context=spec.has_fixed_context,
        )

        def start() -> Host:
            return self._start(runtime, subject, artifact, is_reference=is_reference)

        return ServedModel(
            artifact,
            (lambda: _restarting(start)) if is_reference else start,
            loading,
            self._recall(artifact, runtime, loading, is_reference=is_reference),
            self._settings.watch(subject),
        )

    def _recall(
        self, artifact: Artifact, runtime: str, loading: LoadOptions, *, is_reference: bool
    ) -> Recall | None:
        """What it answered before; None where that is not determined by its files."""
        from qgate.runtimes.recall import KINDS, KINDS_OF_THE_REFERENCE, Identity, Recall

        if not self._settings.recalls or loading.is_remote or artifact.runs_code:
            return None
        identity = Identity(
            digest=lambda: self.digest(artifact),
            require_unchanged=lambda: self.require_unchanged(artifact),
            loaded=lambda: {"by": runtime, **loading.identity(artifact.quantize)},
        )
        return Recall(
            self.store, identity, KINDS_OF_THE_REFERENCE if is_reference else tuple(KINDS)
        )

    def _start(self, runtime: str, subject: str, artifact: Artifact, *, is_reference: bool) -> Host:
        from qgate.runtimes.host import Host, HostSettings

        python, spec = self.plan.python_of(runtime), find_spec(runtime)
        settings = HostSettings(
            runtime=runtime,
            python=python,
            stall_s=self.plan.thresholds.runtime.stall_s,
            confinement=self._settings.confinement,
            reach=self._reach(runtime, artifact, is_reference=is_reference),
            variables=spec.variables,
        )
        if settings.is_confined:
            self._compile(python, spec.imports)
        return Host(settings, lambda: self._settings.progress(subject))

    def _compile(self, python: str, imports: tuple[str, ...]) -> None:
        """Once a run, even where nothing comes of it."""
        from qgate.runtimes.confined.bytecode import compile_once
        from qgate.runtimes.launch import environment_for

        if (python, imports) not in self._compiled:
            self._compiled.add((python, imports))
            compile_once(python, imports, environment_for(python))

    def _reach(self, runtime: str, artifact: Artifact, *, is_reference: bool) -> Reach:
        """What a child reads, and the reference's writes: its model, and the store's entries.

        A child of an artifact reads the reference's output matrix.
        """
        from qgate.runtimes.confined.child_view import Reach

        confinement = self._settings.confinement
        if confinement is None or confinement.tool is None:
            return Reach()
        models = [artifact, *([self.plan.reference] if self.plan.reference else [])]
        files = [path for one in models for path in (one.path, *one.files, *_linked_beside(one))]
        entries, making = self.store.open_places()
        options = self._options(runtime, is_reference=is_reference).values()
        named = [Path(one) for one in options if isinstance(one, str) and Path(one).is_absolute()]
        return Reach(
            reads=(*map(without_steps_up, files), *entries, *named),
            writes=making if is_reference else (),
            needs_network=find_spec(runtime).needs_network,
        )


def _linked_beside(model: Artifact) -> Iterator[Path]:
    """Other links of its directory: a library may read what the digest does not cover.

    None that leads out of the model's own files, as a stranger's may lead anywhere.
    """
    with contextlib.suppress(OSError):  # what vanished is told by whoever loads it
        for path in model.path.iterdir() if model.format == "hf" else ():
            if path.is_symlink() and refusal(path, model.path) is None:
                yield path
