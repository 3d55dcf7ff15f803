"""Where a task runs generated code: what it loads as `code_eval` is made to run it in a sandbox.

humaneval, mbpp and their like call `evaluate.load("code_eval")` while they are imported. That
metric comes over the network and runs code in this process's children, unconfined.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.measure.tasks.lm_eval.quiet import replaced
from qgate.sandbox.programs import Outcome, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

Runner = Callable[[Sequence[Program]], Sequence[Outcome]]
"""Runs programs where they can do no harm."""
CODE_EVAL = "code_eval"


@dataclass(frozen=True, slots=True)
class Runs:
    """A runner that keeps how its programs ended."""

    runner: Runner
    outcomes: list[Outcome] = field(default_factory=list)

    def __call__(self, programs: Sequence[Program]) -> Sequence[Outcome]:
        ended = self.runner(programs)
        self.outcomes.extend(ended)
        return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeEval:
    """What a task takes for Hugging Face's `code_eval` metric."""

    runner: Runner

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        **_: object,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """`pass@k` by the unbiased estimator of Chen et al. 2021, and how each program fared.

        Args:
            references: one test for each problem.
            predictions: candidates for each problem, each held against its test.
            k: of `pass@k`, where there are so many candidates.
        """
        programs = [
            Program(name=f"candidate {place} of {number}", code=candidate, checks=test)
            for number, (test, candidates) in enumerate(
                zip(references, predictions, strict=True), 1
            )
            for place, candidate in enumerate(candidates, 1)
        ]
        ended_well = [one.passed for one in self.runner(programs)]
        if len(ended_well) != len(programs):
            raise MeasurementError(
                f"lost programs: got {len(ended_well)} results; expected {len(programs)}"
            )
        ends = iter(ended_well)
        results = [[bool(next(ends)) for _ in candidates] for candidates in predictions]
        fewest = min(map(len, results), default=0)
        shares = {
            f"pass@{size}": sum(_pass_at(size, passed) for passed in results) / len(results)
            for size in k
            if size <= fewest
        }
        details = {
            task: [
                (place, {"task_id": task, "passed": one, "completion_id": place})
                for place, one in enumerate(passed)
            ]
            for task, passed in enumerate(results)
        }
        return shares, details


def _pass_at(size: int, passed: Sequence[bool]) -> float:
    n, right = len(passed), sum(passed)
    return 1 - comb(n - right, size) / comb(n, size)


@contextlib.contextmanager
def sandboxed(runner: Runner | None) -> Iterator[None]:
    """While a task is loaded, let its `code_eval` be the sandbox; None: nothing is changed.

    A task's module is imported once and kept. One that names the metric is forgotten before, for it
    may hold the real one, and afterwards, so that the next load gets its own. What tasks try while
    they are imported is not run: where there is no sandbox, their rows say so.
    """
    if runner is None:
        yield
        return
    is_loading = True

    def run(programs: Sequence[Program]) -> Sequence[Outcome]:
        if is_loading:
            return [Outcome(passed=False, why="not run", wall_s=0.0)] * len(programs)
        return runner(programs)

    _forget()
    try:
        with evaluating(run):
            yield
    finally:
        is_loading = False
        _forget()


@contextlib.contextmanager
def evaluating(runner: Runner | None) -> Iterator[None]:
    """What a task gets that imports `evaluate`: one that loads the stand-in; None: the real one.

    The real one imports torch and transformers (4 s); it is imported for another metric only.
    """
    if runner is None:
        yield
        return
    real = sys.modules.get("evaluate")

    def load(path: str, *args: Any, **how: Any) -> Any:  # noqa: ANN401 - as evaluate.load
        if path == CODE_EVAL:
            return CodeEval(runner=runner)
        return _real(real).load(path, *args, **how)

    stub = types.ModuleType("evaluate")
    vars(stub).update(vars(real) if real else {}, load=load)
    with replaced(sys.modules, {"evaluate": stub}):
        yield


def _real(known: types.ModuleType | None) -> Any:  # noqa: ANN401 - the module
    if known is not None:
        return known
    stub = sys.modules.pop("evaluate")
    try:
        return importlib.import_module("evaluate")
    finally:
        sys.modules["evaluate"] = stub


def _forget() -> None:
    for name, module in list(sys.modules.items()):
        # by its dictionary: asking some modules for what they lack has them import it
        held = getattr(module, "__dict__", {})
        is_of_a_task = name.startswith("lm_eval.tasks.") or "__mtime__" in held
        if is_of_a_task and _names_the_metric(held.get("__file__")):
            del sys.modules[name]


def _names_the_metric(file: str | None) -> bool:
    path = Path(file or "")
    return path.is_file() and CODE_EVAL in path.read_text("utf-8", "replace")
