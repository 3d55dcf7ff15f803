"""Whether the children of a run can be confined: asked once, before any of them is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.errors import QGateError
from qgate.runtimes import find_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.planning.plan import RunPlan
    from qgate.runtimes.confined.mode import Mode
    from qgate.runtimes.confined.starting import Confinement


def confine(plan: RunPlan, mode: Mode) -> Confinement:
    """How every child of the plan is confined.

    Raises:
        UsageError: it is required, and this machine cannot.
    """
    from qgate.runtimes.confined.choice import Child, decide
    from qgate.runtimes.launch import environment_for

    wanted = set()
    for runtime in _runtimes(plan):
        spec = find_spec(runtime)
        wanted.add((plan.python_of(runtime), spec.import_name or "", spec.variables))
    children = [
        Child(python=python, package=package, environment=environment_for(python, variables))
        for python, package, variables in sorted(wanted)
    ]
    return decide(mode, children)


def _runtimes(plan: RunPlan) -> Iterator[str]:
    for one in plan.artifacts:
        if not isinstance(one.runtime, QGateError):
            yield one.runtime.name
        if not isinstance(one.reference_runtime, QGateError):
            yield one.reference_runtime
