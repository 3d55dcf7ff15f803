"""A team's own prompts: both sides get the same tokens, and no answer is asked for twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy, write_toy
from tests.plugin.conftest import LONG

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

OWN = """
import json, pytest
from qgate import Estimate

PROMPTS = [f"Write {number} as JSON: " for number in range(40)]

@pytest.mark.qgate("own.same_answers")
def test_same_answers(model, reference_model, gate):
    answers = model.generate(PROMPTS, max_tokens=12, stop="}")
    assert not any("}" in answer for answer in answers)
    pairs = zip(answers, reference_model.generate(PROMPTS, max_tokens=12, stop="}"), strict=True)
    gate.judge(Estimate.share(sum(own == theirs for own, theirs in pairs), len(PROMPTS)), min=0.85)

@pytest.mark.qgate("own.less_likely")
def test_less_likely(model, reference_model, gate):
    own, theirs = (side.loglikelihood(PROMPTS, ["{}"] * 40) for side in (model, reference_model))
    assert model.loglikelihood(PROMPTS[0], "{}") == pytest.approx(own[0])
    gate.judge(Estimate.paired(own, theirs, unit="nats"), min=-0.5)

@pytest.mark.qgate("own.too_long")
def test_too_long(model, gate):
    model.generate(["a" * 1200], max_tokens=50)

@pytest.mark.qgate("own.one_text")
def test_one_text(model, gate):
    model.generate("not a list")

@pytest.mark.qgate("own.chat")
def test_chat(model, gate):
    model.generate(PROMPTS, chat=True)
"""
ERRORS = {
    "own.too_long": (
        "prompt 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' does not fit the context: got 1251"
        f" tokens with what follows it; expected at most {LONG}"
    ),
    "own.one_text": "prompts: got str; expected a list of texts",
    "own.chat": (
        "chat: original has no chat template that works: its prompts would be continued as plain"
        " text. Write generate(..., chat=False)"
    ),
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    pytest.importorskip("gguf")
    directory = tmp_path / "models"
    directory.mkdir()
    toys = {
        "original": Toy(scheme="F32"),
        "good": Toy(noise=0.001),
        "bad": Toy(noise=3.0),
        "foreign": Toy(tokens_from="u"),
    }
    for name, toy in toys.items():
        write_toy(directory / f"{name}.gguf", replace(toy, vocabulary=256, context=LONG))
    return directory


@pytest.fixture
def seen(project: Project, models: Path) -> Outcome:
    project.write("tests/test_own.py", OWN)
    return project.gate_all(models, "tests", "-W", "error")


def test_both_sides_are_asked_and_judged(seen: Outcome) -> None:
    assert seen.verdicts("good")["own.same_answers"] == "pass"
    assert seen.verdicts("good")["own.less_likely"] == "pass"
    assert seen.verdicts("bad")["own.same_answers"] == "fail"
    assert seen.verdicts("bad")["own.less_likely"] == "fail"
    by_id = {artifact["id"]: artifact for artifact in seen.report()["artifacts"]}
    assert by_id["good"]["runtime"]["name"] == "fake"


def test_what_cannot_be_asked_is_an_error_of_one_line(seen: Outcome) -> None:
    for row, message in ERRORS.items():
        assert seen.verdicts("good")[row] == "error"
        assert seen.message("good", row) == f"good: {message}"
    assert "Traceback" not in seen.text
    assert {seen.verdicts("foreign")[f"own.{row}"] for row in ("same_answers", "less_likely")} == {
        "error"
    }
    assert "tokenizer differs from the reference's" in seen.message("foreign", "own.same_answers")


def test_a_second_run_asks_neither_side(project: Project, models: Path, seen: Outcome) -> None:
    again = project.gate_all(models, "tests", "-k", "good")

    (told,) = [one["from_store"] for one in again.report()["artifacts"] if one["id"] == "good"]
    assert told["answers"]["asked"] == told["answers"]["from_store"] == 1
    assert told["likelihoods"]["asked"] == told["likelihoods"]["from_store"] == 2
    assert again.verdicts("good") == seen.verdicts("good")
