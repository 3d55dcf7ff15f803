"""What a run decides before anything is loaded: made once, frozen, and read by everybody.

Which runtime serves which model, which limits hold, which alarms share one error, how much is
asked: header, listing, ledger, fixtures, measuring and the estimate of time read it here, and ask
nobody again.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from qgate import runtimes
from qgate.artifacts.selection import find_artifacts
from qgate.checks import own_checks
from qgate.errors import ArtifactError, QGateError, RuntimeUnavailable
from qgate.measure.tasks.task_list import TaskList
from qgate.planning import noise_floor
from qgate.planning.applicability import applicable, limits_of
from qgate.planning.effort import cut, find_effort
from qgate.planning.feasibility import Feasibility
from qgate.planning.runtime_choice import RuntimeChoice
from qgate.thresholds import load_thresholds
from qgate.verdict import family_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from qgate.checks import Check
    from qgate.measure.probes import Probe
    from qgate.planning.options import RunOptions
    from qgate.records import Artifact, Limit
    from qgate.runtimes.selection import Choice
    from qgate.thresholds import Thresholds

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactPlan:
    """What is decided of one artifact."""

    artifact: Artifact
    runtime: Choice | QGateError
    """What serves it, or why nothing does, which is an error of its rows."""
    reference_runtime: str | QGateError
    """The runtime of the reference that it is held against, or why there is none."""
    limits: Mapping[str, Limit]
    """By row, each by a rule that decides: none is `auto`. These rows are expected of the run."""
    family: int = 1
    """How many of these limits share one error (`qgate.verdict.multiplicity`)."""
    unmeasured: frozenset[str] = frozenset()
    """Areas of the checklist of which its runtime measures nothing."""
    is_on_cpu: bool = False
    """Whether the CPU of this machine serves it: not a GPU, nor a running server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What is decided of a run."""

    directory: Path
    thresholds: Thresholds
    effort: str
    """Its name."""
    reference: Artifact | None
    home: str | QGateError
    """The runtime of the reference where no artifact has a say, or why there is none."""
    artifacts: tuple[ArtifactPlan, ...]
    tasks: TaskList
    own_checks: Mapping[str, Check] = field(default_factory=dict)
    """The team's, by name."""
    header: tuple[str, ...] = ()
    """Lines on the noise floor, and on how likely what is certified is decided."""
    unmatched: tuple[str, ...] = ()
    """Patterns in the thresholds file that are of no artifact: what they say holds nothing."""
    complaints: tuple[str, ...] = ()
    """Of runtimes of other packages: what is to change there, and changes nothing of this run."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines that the header and the end of the run show."""
        return (*self.unmatched, *self.complaints)

    def of(self, artifact: Artifact) -> ArtifactPlan:
        """What is decided of an artifact of the run."""
        return next(plan for plan in self.artifacts if plan.artifact.id == artifact.id)

    def runtime_of(self, artifact: Artifact) -> Choice:
        """What serves it.

        Raises:
            RuntimeUnavailable: nothing does.
        """
        return _require(self.of(artifact).runtime)

    def python_of(self, runtime: str) -> str:
        """The interpreter that a runtime's children run under."""
        section = self.thresholds.runtimes.get(runtime)
        python = (section.python if section else None) or self.thresholds.runtime.python
        return str(python or sys.executable)

    def reference_runtime_of(self, artifact: Artifact | None = None) -> str:
        """The runtime of the reference that an artifact is held against; without one: its home.

        Raises:
            QGateError: there is no reference, or nothing serves it.
        """
        return _require(self.home if artifact is None else self.of(artifact).reference_runtime)

    def require_reference(self) -> Artifact:
        """The reference.

        Raises:
            ArtifactError: there is none.
        """
        return require_reference(self.reference)

    def probes(self) -> tuple[Probe, ...]:
        """What fills the rows of tasks and edge cases, no larger than the effort allows.

        Raises:
            ThresholdsError: a file is missing or wrong.
        """
        from qgate.measure.probes import find_probes  # numpy, which collecting does without

        found = find_probes(self.thresholds, self.tasks, self.reference)
        return tuple(cut(probe, self.thresholds.edge) for probe in found)


def _require(found: Found | QGateError) -> Found:
    if isinstance(found, QGateError):
        raise found
    return found


def require_reference(reference: Artifact | None) -> Artifact:
    """The reference of a run.

    Raises:
        ArtifactError: there is none.
    """
    if reference is None:
        raise ArtifactError(
            "no reference: no unquantized artifact in or beside the given paths."
            " Name one with --qgate-reference PATH"
        )
    return reference


def plan_run(options: RunOptions) -> RunPlan:
    """Read what the user named, and decide; nothing is loaded and no process is started.

    Raises:
        QGateError: an option, a path, a thresholds file or a task that cannot be used.
    """
    effort = find_effort(options.effort)
    own = own_checks(options.checks)
    thresholds = load_thresholds(
        options.thresholds, options.directory, effort.over, runtimes.options(), own
    )
    for runtime, python in options.pythons.items():
        thresholds = thresholds.with_python(runtime, python)
    artifacts, reference = find_artifacts(
        options.paths, options.reference, trusts_code=options.trust_remote_code
    )
    plan = plan_models(
        artifacts,
        reference,
        thresholds,
        options.directory,
        runtime=options.runtime,
        effort=effort.name,
        noise=options.directory / noise_floor.FILE,
        scorers=options.scorers,
    )
    return dataclasses.replace(plan, own_checks=own, complaints=runtimes.complaints())


def plan_models(
    artifacts: Iterable[Artifact],
    reference: Artifact | None,
    thresholds: Thresholds,
    directory: Path,
    *,
    runtime: str | None = None,
    effort: str = "",
    noise: Path | None = None,
    scorers: Mapping[str, object] = MappingProxyType({}),
) -> RunPlan:
    """Decide for these models.

    Args:
        artifacts: that are gated.
        reference: what they are held against.
        thresholds: of the run, sized by its effort.
        directory: of the run.
        runtime: that serves every artifact, by the command line; None: the fitting ones.
        effort: its name.
        noise: where noise floors may lie.
        scorers: functions of the project's own that grade answers, by name.

    Raises:
        QGateError: a runtime is misspelt; a limit or a task cannot be used, at its line.
    """
    tasks = TaskList(thresholds, reference, scorers)
    choosing = RuntimeChoice.of(thresholds, runtime, os.environ)
    floor = noise_floor.find_floor(noise, reference, choosing.choose) if noise else None
    feasibility = Feasibility(tasks.asked(), floor)
    plans = tuple(
        _plan_artifact(artifact, reference, thresholds, choosing, feasibility)
        for artifact in artifacts
    )
    return RunPlan(
        directory=directory,
        thresholds=thresholds,
        effort=effort,
        reference=reference,
        home=_reference_runtime(choosing, reference, None),
        artifacts=plans,
        tasks=tasks,
        header=(*noise_floor.describe(floor), *feasibility.describe(plan.limits for plan in plans)),
        unmatched=thresholds.unmatched(dict(map(_scheme, plans))),
    )


def _scheme(plan: ArtifactPlan) -> tuple[str, str | None]:
    """Of an artifact by its id; None where its files cannot be read."""
    artifact = plan.artifact
    return artifact.id, None if artifact.problem else artifact.scheme


def _plan_artifact(
    artifact: Artifact,
    reference: Artifact | None,
    thresholds: Thresholds,
    choosing: RuntimeChoice,
    feasibility: Feasibility,
) -> ArtifactPlan:
    limits = limits_of(artifact, thresholds)
    reference_runtime = _reference_runtime(choosing, reference, artifact)
    choice: Choice | QGateError
    unmeasured, is_on_cpu = frozenset[str](), False
    try:
        choice = choosing.choose(artifact)
        limits = applicable(limits, artifact, choice, reference_runtime)
        unmeasured, is_on_cpu = choice.unmeasured, choosing.is_on_cpu(choice.name)
    except RuntimeUnavailable as error:  # of its rows, and not of the run
        choice = error
    limits = feasibility.settle(limits)
    return ArtifactPlan(
        artifact=artifact,
        runtime=choice,
        reference_runtime=reference_runtime,
        limits=limits,
        family=family_size(limits),
        unmeasured=unmeasured,
        is_on_cpu=is_on_cpu,
    )


def _reference_runtime(
    choosing: RuntimeChoice, reference: Artifact | None, artifact: Artifact | None
) -> str | QGateError:
    try:
        return choosing.choose_for_reference(require_reference(reference), artifact)
    except QGateError as error:
        return error
