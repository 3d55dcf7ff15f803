"""Scores of both sides, item by item: their difference, and the items that fell most."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from qgate.measure.tasks.anomalies import implausible_gain, odd_answers
from qgate.measure.tasks.graded import Graded
from qgate.measure.tasks.paired_scores import PairedScores


def scores(artifact: np.ndarray, reference: np.ndarray) -> PairedScores:
    names = tuple(f"item {number}" for number in range(len(artifact)))
    return PairedScores(
        artifact=artifact,
        reference=reference,
        prompts=names,
        artifact_texts=tuple(f"own of {name}" for name in names),
        reference_texts=names,
        expected=names,
    )


def said(*answer_tokens: int) -> Graded:
    """Right answers of so many tokens."""
    n = len(answer_tokens)
    return Graded(
        values=np.ones(n),
        texts=("yes",) * n,
        margins_nats=np.zeros(n),
        is_empty=np.array(answer_tokens, dtype=int) == 0,
        answer_tokens=np.array(answer_tokens, dtype=int),
    )


def odd(artifact: Graded, reference: Graded) -> dict[str, Any]:
    names = [f"item {number}" for number in range(1, len(artifact.values) + 1)]
    return odd_answers(names, artifact, reference)


def test_the_five_that_fell_most_are_shown_worst_first() -> None:
    reference = np.full(8, 0.5)
    artifact = np.array([0.5, 0.1, 0.6, 0.4, 0.3, 0.45, 0.2, 0.49])
    details = scores(artifact, reference).details("accuracy.sums")
    assert [one["prompt"] for one in details["worst"]] == [
        "item 1", "item 6", "item 4", "item 3", "item 5",
    ]  # fmt: skip
    assert details["worst"][0]["artifact"] == "own of item 1"
    assert (details["lost"], details["gained"]) == (6, 1)
    assert details["share"] == pytest.approx(artifact.mean())


def test_a_gain_beyond_chance_is_odd_and_one_within_is_not() -> None:
    assert implausible_gain(lost=5, gained=9) == []
    assert implausible_gain(lost=0, gained=6) == []  # p = 1/64
    [finding] = implausible_gain(lost=0, gained=7)
    assert finding == "implausible gain: 7 answers are better than the reference's, 0 are worse"


def test_answers_of_other_lengths_and_empty_ones_are_noticed() -> None:
    same, longer, empty = said(4, 4), said(8, 4), said(0, 8)
    assert odd(same, same) == {"length_ratio": 1.0, "empty": 0, "findings": []}
    assert odd(longer, same)["findings"] == [
        "answers are longer than the reference's: 1.50 times its tokens"
    ]
    assert odd(empty, same)["findings"] == ["empty answers: 1, the reference's 0: item 1"]
    assert odd(empty, empty)["findings"] == []
    assert odd(said(), said()) == {}


def test_programs_that_the_sandbox_stopped_are_listed() -> None:
    stuck = dataclasses.replace(said(4, 4, 4), stopped_by=("", "stopped after 10 s", ""))
    fine = dataclasses.replace(stuck, stopped_by=("", "", ""))
    assert odd(stuck, fine)["stopped"] == 1
    assert odd(stuck, fine)["findings"] == [
        "stopped programs: 1, the reference's 0: item 2 (stopped after 10 s)"
    ]
    assert odd(fine, stuck)["findings"] == odd(stuck, stuck)["findings"] == []


def test_programs_whose_tests_ran_with_them_are_counted_of_each_side() -> None:
    some, none = (dataclasses.replace(said(4, 4), in_one_process=n) for n in (2, 0))
    assert "code" not in odd(said(4, 4), said(4, 4))
    assert odd(some, none)["code"] == {"run_in_one_process": {"artifact": 2, "reference": 0}}
