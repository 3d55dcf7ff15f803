from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import UsageError
from qgate.records import Verdict
from qgate.report.mlflow import content

if TYPE_CHECKING:
    from qgate.records import Report


def test_a_row_becomes_its_value_its_interval_n_and_limit(report: Report) -> None:
    metrics = content.make_child(report, report.artifacts[1], "parent").metrics
    row = {name: value for name, value in metrics.items() if name.startswith("perplexity.")}
    assert row == {
        "perplexity.increase": 0.81,
        "perplexity.increase/low": 0.66,
        "perplexity.increase/high": 0.97,
        "perplexity.increase/n": 16320.0,
        "perplexity.increase/limit": 0.5,
    }
    assert metrics["divergence.same_top/limit"] == 0.9
    assert metrics["qgate.passed"] == 0.0
    assert metrics["measured.scoring_s"] == 12.5


def test_what_was_asked_for_is_in_the_parameters(report: Report) -> None:
    params = content.make_child(report, report.artifacts[0], "parent").params
    assert params == {
        "scheme": "Q8_0",
        "format": "gguf",
        "runtime.name": "llama_cpp",
        "runtime.version": "0.3.36",
        "runtime.device": "cpu",
        "runtime.build": "AVX2",
        "level": "0.95",
        "thresholds.files.0.path": "thresholds/default.yaml",
        "thresholds.files.0.digest": "sha256:" + "ef" * 32,
        "reference.id": "qgate-demo-F16",
        "reference.scheme": "F16",
        "reference.text.name": "self-generated",
        "reference.text.digest": "sha256:" + "cd" * 32,
        "reference.text.seed": "1",
        "reference.window.tokens": "512",
        "reference.window.windows": "64",
    }


def test_rows_that_are_errors_are_not_measured_and_failed_rows_are(report: Report) -> None:
    children = [content.make_child(report, item, "p") for item in report.artifacts]
    assert [child.is_measured for child in children] == [True, True, False]
    assert not content.make_parent(report).is_measured


def test_numbers_that_mlflow_would_bend_are_left_out(report: Report) -> None:
    measured: Any = {"a": math.inf, "b": math.nan, "c": 10**400, "d": "1", "e": 2}
    artifact = dataclasses.replace(report.artifacts[0], measured=measured)
    metrics = content.make_child(report, artifact, "p").metrics
    sent = {name: value for name, value in metrics.items() if name.startswith("measured.")}
    assert sent == {"measured.e": 2.0}


KEYS = [
    ("accuracy.arc_easy/low", "accuracy.arc_easy/low"),
    ("accuracy[a=b]", "accuracy_a_b_"),
    ("a:b", "a_b"),
    ("../../x//y/.", "x/y"),
    ("/", "_"),
    ("", "_"),
    ("té\nst", "t__st"),
]


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_illegal_characters_in_keys_are_replaced(name: str, key: str) -> None:
    assert content.clean_key(name) == key


def test_two_long_names_stay_two() -> None:
    first, second = (content.clean_key("x" * 300 + end) for end in "ab")
    assert (len(first), len(second)) == (250, 250)
    assert first != second


def test_everything_is_cut_to_mlflows_lengths(report: Report) -> None:
    large = dataclasses.replace(
        report,
        reference={**report.reference, "id": "r" * 9000},
        artifacts=report.artifacts * 200,
        thresholds={f"key{number}": "v" * 7000 for number in range(90)},
    )
    parent = content.make_parent(large)
    assert len(content.name_experiment(large)) == 500
    assert len(parent.params) == 40
    assert max(map(len, parent.params.values())) == 6000
    assert max(map(len, parent.tags.values())) <= 8000
    note = parent.tags["mlflow.note.content"]
    assert note.endswith("\n\nCut here: the whole table is in the artifact report.json.")
    dataset = content.make_dataset(large)
    assert dataset is not None
    assert dataset.digest == "cd" * 18
    assert json.loads(dataset.source) == {"uri": "self-generated"}


def test_each_run_is_described_by_its_own_rows(report: Report) -> None:
    first, second = report.artifacts[:2]
    note = content.make_child(report, first, "parent").tags["mlflow.note.content"]
    assert note.startswith("reference: ")
    assert f"| {first.id} |" in note
    assert second.id not in note
    assert "smallest artifact" not in note
    for row in first.records:
        assert row.verdict is Verdict.PASS or row.message.split(":")[0] in note


@pytest.mark.parametrize("session_id", [None, "", "a' OR 1=1", "x" * 65, 7])
def test_a_session_id_that_a_query_could_not_hold_is_refused(
    session_id: object, report: Report
) -> None:
    strange = dataclasses.replace(report, environment={"session_id": session_id})
    with pytest.raises(UsageError, match=r"environment\.session_id: got .*; expected 1 to 64 lett"):
        content.get_session_id(strange)


@pytest.mark.parametrize("started_at", [None, "yesterday", 5, "0001-01-01T00:00:00"])
def test_a_start_that_is_no_time_is_time_zero(started_at: object, report: Report) -> None:
    odd = dataclasses.replace(report, environment={"started_at": started_at})
    assert content.get_time_ms(odd, "started_at") == 0
