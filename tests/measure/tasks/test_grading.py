"""What an answer is worth by each metric, and that the metrics are those that others use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.measure.tasks.code_execution import program
from qgate.measure.tasks.grading import Grading
from qgate.measure.tasks.items import Item
from qgate.sandbox import find_isolation

if TYPE_CHECKING:
    from collections.abc import Sequence


def items(*answers: str) -> list[Item]:
    return [
        Item(id=str(number), prompt="?", choices=(), answer=answer)
        for number, answer in enumerate(answers)
    ]


def grades(metric: str, texts: Sequence[str], *answers: str, **options: bool) -> list[float]:
    return Grading(metric=metric, **options).grade(texts, items(*answers))[0].tolist()


def test_case_and_punctuation_count_unless_the_task_says_otherwise() -> None:
    texts = ["paris.", "Paris"]
    assert grades("exact", texts, "Paris", "Paris") == [False, True]
    ignoring = grades("exact", texts, "Paris", "Paris", ignore_case=True, ignore_punctuation=True)
    assert ignoring == [True, True]


def test_options_are_those_of_lm_eval() -> None:
    harness = pytest.importorskip("lm_eval.api.metrics")
    texts, answers = ["The cat, sat!", "a B", "x"], ["the cat sat", "A b.", "y"]
    told = [
        harness.exact_match_hf_evaluate(
            predictions=[text], references=[answer], ignore_case=True, ignore_punctuation=True
        )["exact_match"]
        for text, answer in zip(texts, answers, strict=True)
    ]
    ours = grades("exact", texts, *answers, ignore_case=True, ignore_punctuation=True)
    assert ours == [bool(one) for one in told] == [True, True, False]


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    pytest.importorskip("rouge_score")
    # common: the cat on the mat (5); 6 words said, 6 expected; by hand 5/6 each way
    text, answer = "the cat sat on the mat", "the cat lay on the mat"
    [score] = grades("rouge_l", [text], answer)
    assert score == pytest.approx(5 / 6)
    assert grades("rouge_l", ["", answer], answer, answer) == [0.0, 1.0]


def test_chrf_is_sacrebleus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    text, answer = "Das ist ein Haus", "Dies ist ein Haus."
    [score] = grades("chrf", [text], answer)
    assert score == pytest.approx(sacrebleu.sentence_chrf(text, [answer]).score / 100)
    assert 0.5 < score < 1.0


def test_scores_are_floats_and_the_rest_is_right_or_wrong() -> None:
    pytest.importorskip("rouge_score")
    assert Grading(metric="rouge_l").grade(["a"], items("a"))[0].dtype == np.float64
    assert Grading(metric="numeric").grade(["so 4"], items("4"))[0].dtype == np.bool_


def test_a_metric_whose_package_is_absent_names_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rouge_score", None)
    monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(MeasurementError, match=r'Install it with: pip install "pytest-qgate\[tas'):
        grades("rouge_l", ["a"], "a")


# --- code -----------------------------------------------------------------------------------------

PROMPT = "def double(x):\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("    return 2 * x\n", f"{PROMPT}    return 2 * x\n"),
        (
            "    return 2 * x\n\ndef other():\n    pass\nprint(1)\n",
            f"{PROMPT}    return 2 * x\n",
        ),
        (
            "Here:\n```python\ndef double(x):\n    return x + x\n```\nAnd so on",
            "def double(x):\n    return x + x\n",
        ),
        ("```\ndef double(x):\n    return 2", "def double(x):\n    return 2"),
    ],
    ids=["completion", "what comes after is cut", "fenced", "fenced and cut off"],
)
def test_the_program_is_what_was_asked_for(text: str, code: str) -> None:
    assert program(PROMPT, text) == f"{code}\n"


@pytest.fixture
def isolated() -> None:
    """Programs can be run where they do no harm."""
    try:
        find_isolation()
    except MeasurementError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("isolated")
def test_code_is_right_where_its_tests_pass() -> None:
    tests = "assert double(2) == 4"
    asked = [Item(id=str(n), prompt=PROMPT, choices=(), answer="", tests=tests) for n in range(3)]
    texts = ["    return 2 * x\n", "    return x\n", "    while True: print(x)\n"]
    grades, ran = Grading(metric="code").grade(texts, asked)
    assert grades.tolist() == [True, False, False]
    assert ran[2].why == "stopped: printed more than 65536 bytes"
    assert [one.is_stopped for one in ran] == [False, False, True]


@pytest.mark.usefixtures("isolated")
def test_saying_nothing_is_wrong_even_where_the_prompt_is_a_program() -> None:
    done = Item(id="1", prompt="x = 1\n", choices=(), answer="", tests="assert x == 1")
    grades, _ = Grading(metric="code").grade(["y = 2\n", " \n"], [done, done])
    assert grades.tolist() == [True, False]


@pytest.mark.usefixtures("isolated")
def test_a_program_that_is_equal_to_everything_is_wrong_and_tests_that_need_more_are_marked() -> (
    None
):
    forged = (
        "```\nclass E(int):\n    def __eq__(self, other): return True\ndouble = lambda x: E()\n```"
    )
    sound = "```\ndouble = lambda x: 2 * x(1)\n```"
    tests = ["assert double(2) == 4", "assert double(lambda x: x + 1) == 4"]
    asked = [
        Item(id=str(n), prompt=PROMPT, choices=(), answer="", tests=one)
        for n, one in enumerate(tests)
    ]
    grades, ran = Grading(metric="code").grade([forged, sound], asked)
    assert grades.tolist() == [False, True]
    assert [one.in_one_process for one in ran] == ["", "a function as an argument"]
