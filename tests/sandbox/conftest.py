"""Sandboxes of every tool that works on this machine; a tool that does not is skipped by reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qgate.errors import MeasurementError
from qgate.sandbox import Isolation, Limits, Outcome, Program, find_isolation, run_programs
from qgate.sandbox.isolation import unused_users

Run = Callable[..., Outcome]
Graded = Callable[..., list[Outcome]]


@pytest.fixture(scope="session", params=["bwrap", "unshare"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    try:
        return find_isolation([request.param])
    except MeasurementError as error:
        # one that comes up and does not hold is no reason to skip, but for root in name only
        if f"got {request.param}: does not hold" in str(error) and unused_users():
            raise
        pytest.skip(str(error))


@pytest.fixture
def run(isolation: Isolation) -> Run:
    """run(code, **limits) -> the outcome of one program."""

    def make(code: str, **limits: float) -> Outcome:
        given = {"wall_s": 20.0, **limits}
        return run_programs([Program(name="a", code=code)], Limits(**given), isolation)[0]

    return make


@pytest.fixture
def named() -> Callable[[str], list[int]]:
    """named(mark) -> the processes of the machine that gave themselves this name."""

    def find(mark: str) -> list[int]:
        found = []
        for place in Path("/proc").glob("[0-9]*/comm"):
            try:
                name = place.read_text().strip()
            except OSError:  # it has ended
                continue
            if name == mark:
                found.append(int(place.parent.name))
        return found

    return find


@pytest.fixture
def graded(isolation: Isolation) -> Graded:
    """graded(*(code, checks), ...) -> how each ended."""

    def grade(*programs: tuple[str, str]) -> list[Outcome]:
        made = [
            Program(name=str(number), code=code, checks=checks)
            for number, (code, checks) in enumerate(programs)
        ]
        return run_programs(made, Limits(wall_s=20.0), isolation)

    return grade
