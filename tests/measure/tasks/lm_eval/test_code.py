"""Tasks that run what the model writes: only in the sandbox that is passed in.

The sandbox here is a FAKE, made for these tests: it runs nothing and knows some programs.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError, ThresholdsError
from qgate.measure.tasks.lm_eval.code import CodeEval, Runner, sandboxed
from qgate.measure.tasks.lm_eval.plan import plan
from qgate.measure.tasks.lm_eval.probe import HarnessTask
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import LoadedTask, load_task
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.runtimes.requests import Pair
from qgate.sandbox import Outcome, Program
from tests.measure.tasks.lm_eval.conftest import GENERATED
from tests.support.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qgate.runtimes.requests import TokenizerClient


class FakeSandbox:
    """Runs nothing: a program ends well if it says `right`."""

    def __init__(self) -> None:
        self.programs: list[str] = []

    def __call__(self, programs: Sequence[Program]) -> list[Outcome]:
        self.programs += [program.whole for program in programs]
        return [
            Outcome(
                passed="right" in program.whole,
                why="",
                wall_s=0.0,
                in_one_process="so" if "together" in program.whole else "",
            )
            for program in programs
        ]


PROBLEMS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": f"def f{number}(x):\n",
        "entry_point": f"f{number}",
        "canonical_solution": "    return x\n",
        "test": f"def check(candidate):\n    assert candidate({number}) == {number}\n",
    }
    for number in range(3)
]


def load(tmp_path: Path, runner: Runner | None = None) -> LoadedTask:
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(map(json.dumps, PROBLEMS)))
    return load_task(HarnessSettings(name="humaneval", data=path, max_tokens=8, runner=runner))


def test_a_task_that_runs_code_needs_to_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        "humaneval: the task runs the code that the model writes: got no code_execution; expected"
        " code_execution: sandbox"
    )
    # nor is anything of the task imported
    assert "lm_eval.tasks.humaneval.utils" not in sys.modules


def test_programs_run_in_the_sandbox_and_nowhere_else(
    tmp_path: Path, speak: Callable[[int], TokenizerClient]
) -> None:
    sandbox = FakeSandbox()
    loaded = load(tmp_path, sandbox)
    probe = HarnessTask(check="accuracy.humaneval", loaded=loaded, min_reference=0)
    work = probe.work(speak(256))
    assert sandbox.programs == []  # what lm-eval tries while it imports the task is not run

    found = probe.read(
        Pair(
            work=work,
            reference=make_outcome(make_answers(" # right", " # right\ndef g", "wrong")),
            artifact=make_outcome(make_answers(" # right", "wrong\ndef right", "")),
        )
    )

    assert isinstance(found, PairedAnswers)
    assert found.reference.tolist() == [True, True, False]
    assert found.artifact.tolist() == [True, False, False]
    assert found.more["empty"] == {"artifact": 1, "reference": 0}
    assert len(sandbox.programs) == 6
    assert sandbox.programs[0] == (
        "def f0(x):\n # right\ndef check(candidate):\n    assert candidate(0) == 0\n\ncheck(f0)"
    )


def test_programs_whose_tests_ran_with_them_are_counted(
    tmp_path: Path, speak: Callable[[int], TokenizerClient]
) -> None:
    probe = HarnessTask(
        check="accuracy.humaneval", loaded=load(tmp_path, FakeSandbox()), min_reference=0
    )
    found = probe.read(
        Pair(
            work=probe.work(speak(256)),
            reference=make_outcome(make_answers(" # right", " # right", " # right")),
            artifact=make_outcome(make_answers(" # right together", " # together", "")),
        )
    )
    assert isinstance(found, PairedAnswers)
    assert found.more["code"] == {"run_in_one_process": {"artifact": 2, "reference": 0}}


def grade(loaded: LoadedTask, speak: Callable[[int], TokenizerClient]) -> PairedAnswers:
    probe = HarnessTask(check="accuracy.code", loaded=loaded, min_reference=0)
    side = make_outcome(make_answers(*(" # right" for _ in loaded.items)))
    found = probe.read(Pair(work=probe.work(speak(256)), reference=side, artifact=side))
    assert isinstance(found, PairedAnswers)
    return found


def test_each_load_gets_its_own_sandbox(
    tmp_path: Path, speak: Callable[[int], TokenizerClient]
) -> None:
    first, second = FakeSandbox(), FakeSandbox()
    loaded = [load(tmp_path, one) for one in (first, second)]

    grade(loaded[1], speak)

    assert len(second.programs) == 2 * len(PROBLEMS)
    assert first.programs == []


def test_a_task_that_was_imported_before_gets_the_sandbox_all_the_same(
    tmp_path: Path, speak: Callable[[int], TokenizerClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a conftest, say, or by lm-eval itself: its module is kept, with the metric it has."""
    unconfined: list[str] = []

    class Real:
        def compute(self, predictions: Sequence[Sequence[str]], **_: Any) -> Any:
            unconfined.extend(text for texts in predictions for text in texts)
            return {"pass@1": 1.0}, {}

    real = type(sys)("evaluate")
    vars(real)["load"] = lambda *_: Real()
    monkeypatch.setitem(sys.modules, "evaluate", real)
    importlib.import_module("lm_eval.tasks.humaneval.utils")
    unconfined.clear()

    sandbox = FakeSandbox()
    grade(load(tmp_path, sandbox), speak)

    assert len(sandbox.programs) == 2 * len(PROBLEMS)
    assert unconfined == []


METRIC_INSIDE = """
def run(doc, results):
    import evaluate
    shares, _ = evaluate.load("code_eval").compute(
        references=[doc["answer"]], predictions=[results], k=[1]
    )
    return {"passed": shares["pass@1"]}
"""


def test_a_task_that_loads_the_metric_when_it_grades_gets_the_sandbox(
    write_task: Callable[..., Path], speak: Callable[[int], TokenizerClient]
) -> None:
    told = {"metric": "passed", "aggregation": "mean", "higher_is_better": True}
    rows = [{"prompt": f"say {number}", "answer": "assert True"} for number in range(3)]
    directory = write_task("made", GENERATED, rows, metric_list=[told])
    (directory / "grade.py").write_text(METRIC_INSIDE)
    with (directory / "made.yaml").open("a") as file:
        file.write("\nprocess_results: !function grade.run\n")
    sandbox = FakeSandbox()
    settings = HarnessSettings(name="made", include_path=directory, runner=sandbox)

    grade(load_task(settings), speak)

    assert len(sandbox.programs) == 2 * len(rows)


@pytest.mark.parametrize("is_imported", [True, False])
def test_evaluate_is_as_it_was_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_imported: bool
) -> None:
    marker = type(sys)("evaluate")
    if is_imported:
        monkeypatch.setitem(sys.modules, "evaluate", marker)
    else:
        monkeypatch.delitem(sys.modules, "evaluate", raising=False)
    before = dict(vars(marker))

    load(tmp_path, FakeSandbox())

    assert (sys.modules.get("evaluate") is marker) == is_imported
    assert vars(marker) == before
    assert "lm_eval.tasks.humaneval.utils" not in sys.modules


def test_another_metric_is_that_of_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(sys)("evaluate")
    vars(real)["load"] = lambda path: f"the real {path}"
    monkeypatch.setitem(sys.modules, "evaluate", real)

    with sandboxed(FakeSandbox()):
        import evaluate

        assert evaluate.load("rouge") == "the real rouge"
        assert isinstance(evaluate.load("code_eval"), CodeEval)


def test_shares_are_the_unbiased_estimate() -> None:
    found, details = CodeEval(runner=FakeSandbox()).compute(
        references=["t1", "t2"], predictions=[["right", "no", "no"], ["right"] * 3], k=[1, 2, 10]
    )

    assert found == {
        "pass@1": pytest.approx((1 / 3 + 1) / 2),
        "pass@2": pytest.approx((2 / 3 + 1) / 2),
    }
    assert [one["passed"] for _, one in details[0]] == [True, False, False]


def test_a_lost_program_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="lost programs: got 0 results; expected 1"):
        CodeEval(runner=lambda programs: []).compute(references=["t"], predictions=[["x"]], k=[1])


def test_a_sandbox_that_fails_is_heard_of(
    tmp_path: Path, speak: Callable[[int], TokenizerClient]
) -> None:
    loaded = load(tmp_path, fail)
    probe = HarnessTask(check="accuracy.humaneval", loaded=loaded, min_reference=0)
    work = plan(loaded.task.instances, speak(256))
    outcome = make_outcome(make_answers("a", "b", "c"))

    with pytest.raises(MeasurementError, match="the sandbox broke"):
        probe.read(Pair(work=work, reference=outcome, artifact=outcome))


def fail(programs: Sequence[Program]) -> list[Outcome]:
    raise MeasurementError("the sandbox broke")


@pytest.mark.parametrize("name", ["cruxeval_input", "longproc_countdown_0.5k"])
@pytest.mark.parametrize("is_allowed", [False, True])
def test_what_no_sandbox_would_hold_is_refused_whatever_is_allowed(
    name: str, is_allowed: bool
) -> None:
    """They call `exec` and `eval` on answers and bear no mark of it."""
    with pytest.raises(ThresholdsError) as caught:
        load_task(HarnessSettings(name=name, runner=FakeSandbox() if is_allowed else None))

    line = str(caught.value)
    assert line.startswith(f"{name}: the task runs code by itself (")
    assert line.endswith("through code_eval, which can be sandboxed. Name another task")


def test_a_mark_without_the_metric_cannot_be_sandboxed(write_task: Callable[..., Path]) -> None:
    directory = write_task("made", GENERATED, [{"prompt": "a", "answer": "b"}], unsafe_code=True)
    settings = HarnessSettings(name="made", include_path=directory, runner=FakeSandbox())

    with pytest.raises(ThresholdsError, match="made: the task says unsafe_code and none of its"):
        load_task(settings)


@pytest.mark.parametrize("function", ["grade.run", "lm_eval.tasks.mbpp.utils.pass_at_1"])
def test_a_module_that_names_the_metric_is_found_without_its_flag(
    write_task: Callable[..., Path], function: str
) -> None:
    rows = [{"prompt": "a", "answer": "b"}]
    directory = write_task("made", GENERATED, rows)
    (directory / "grade.py").write_text("import evaluate\nrun = evaluate.load('code_eval')\n")
    with (directory / "made.yaml").open("a") as file:
        file.write(f"\nprocess_results: !function {function}\n")

    with pytest.raises(ThresholdsError, match="made: the task runs the code that the model writes"):
        load_task(HarnessSettings(name="made", include_path=directory))
