"""The account of what was measured and what was not: nothing that is missing is a pass."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from qgate.gate.row import Ledger, Subject, overall
from qgate.records import Artifact, Estimate, Record, Verdict
from tests.support.verdicts import ERROR, FAIL, INCOMPLETE, INCONCLUSIVE, PASS, SKIPPED, estimate

SEVERITY = [ERROR, FAIL, INCOMPLETE, INCONCLUSIVE, PASS]


def artifact(name: str = "a") -> Artifact:
    path = Path(f"{name}.gguf")
    return Artifact(
        id=name,
        path=path,
        format="gguf",
        scheme="Q4_K_M",
        size_bytes=1,
        files=(path,),
        is_quantized=True,
    )


def record(name: str, verdict: Verdict, estimate: Estimate | None = None) -> Record:
    return Record(name=name, verdict=verdict, message=f"{name}: said", estimate=estimate)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_worst_verdict_is_the_verdict_of_all(count: int) -> None:
    for verdicts in itertools.product(Verdict, repeat=count):
        judged = [verdict for verdict in verdicts if verdict is not SKIPPED]
        worst = min(judged, key=SEVERITY.index, default=INCOMPLETE)
        assert overall(iter(verdicts)) is worst, verdicts


def test_all_rows_passed_is_a_pass() -> None:
    ledger = Ledger([artifact()])
    for name in ("x.one", "x.two"):
        ledger.expect("a", name)
        ledger.enter("a", record(name, PASS))

    report = ledger.report({}, {})

    assert (report.verdict, report.artifacts[0].verdict) == (PASS, PASS)
    assert ledger.missing() == []


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ([PASS], INCOMPLETE),
        ([], INCOMPLETE),
        ([SKIPPED], INCOMPLETE),
        ([INCONCLUSIVE], INCOMPLETE),
        ([FAIL], FAIL),
        ([ERROR], ERROR),
    ],
)
def test_a_missing_row_is_never_a_pass(others: list[Verdict], wanted: Verdict) -> None:
    ledger = Ledger([artifact()])
    for number, verdict in enumerate(others):
        ledger.enter("a", record(f"x.{number}", verdict))
    ledger.expect("a", "x.lost")

    report = ledger.report({}, {})

    assert ledger.missing() == [("a", "x.lost")]
    assert (report.verdict, report.artifacts[0].verdict) == (wanted, wanted)
    lost = report.artifacts[0].records[-1]
    assert (lost.name, lost.verdict) == ("x.lost", INCOMPLETE)
    assert lost.message == (
        "x.lost: not measured in this run: deselected, or the run ended before it"
    )


@pytest.mark.parametrize("rows", [[], [SKIPPED], [SKIPPED, SKIPPED]])
def test_nothing_judged_is_never_a_pass(rows: list[Verdict]) -> None:
    ledger = Ledger([artifact()])
    for number, verdict in enumerate(rows):
        ledger.enter("a", record(f"x.{number}", verdict, estimate()))

    assert ledger.report({}, {}).verdict is INCOMPLETE


def test_no_artifact_is_never_a_pass() -> None:
    assert Ledger([]).report({}, {}).verdict is INCOMPLETE


def test_one_artifact_without_rows_spoils_the_run() -> None:
    ledger = Ledger([artifact("good"), artifact("forgotten")])
    ledger.enter("good", record("x.one", PASS))

    report = ledger.report({}, {})

    assert [one.verdict for one in report.artifacts] == [PASS, INCOMPLETE]
    assert report.verdict is INCOMPLETE


def test_a_skipped_row_beside_a_pass_leaves_the_pass_and_is_told_if_it_has_a_limit() -> None:
    ledger = Ledger([artifact()])
    for name in ("x.one", "x.shown", "x.absent"):
        ledger.expect("a", name)
    ledger.enter("a", record("x.one", PASS))
    ledger.enter("a", record("x.shown", SKIPPED, estimate()))
    ledger.enter("a", record("x.absent", SKIPPED))
    ledger.enter("a", record("x.without_a_limit", SKIPPED))

    assert ledger.report({}, {}).verdict is PASS
    assert ledger.skipped() == [("a", "x.absent")]


def test_a_row_that_is_entered_twice_counts_once_with_its_last_word() -> None:
    ledger = Ledger([artifact()])
    ledger.expect("a", "x.one")
    ledger.expect("a", "x.one")
    ledger.enter("a", record("x.one", PASS), Subject(digest="sha256:1", measured={"s": 1.0}))
    ledger.enter("a", record("x.one", FAIL))

    [found] = ledger.report({}, {}).artifacts

    assert [row.verdict for row in found.records] == [FAIL]
    assert (found.digest, found.measured) == ("sha256:1", {"s": 1.0})


def test_of_two_tests_with_the_name_of_one_row_the_worse_counts_until_it_is_rerun() -> None:
    ledger = Ledger([artifact()])
    verdicts = []
    for test, verdict in [("[0.9]", FAIL), ("[0.1]", PASS), ("[none]", SKIPPED), ("[0.9]", PASS)]:
        ledger.enter("a", record("x.one", verdict), test=test)
        [row] = ledger.report({}, {}).artifacts[0].records
        verdicts.append(row.verdict)

    assert verdicts == [FAIL, FAIL, FAIL, SKIPPED]


def test_rows_come_in_the_order_of_the_checklist_and_a_teams_own_last() -> None:
    ledger = Ledger([artifact()])
    names = ["ours.first", "memory.peak", "edge.math", "accuracy.b", "integrity.files"]
    for name in [*names, "accuracy.a"]:
        ledger.enter("a", record(name, PASS))
    ledger.expect("a", "latency.ttft")

    [found] = ledger.report({}, {}).artifacts

    assert [row.name for row in found.records] == [
        "integrity.files",
        "accuracy.b",
        "accuracy.a",
        "edge.math",
        "latency.ttft",
        "memory.peak",
        "ours.first",
    ]


def shares(name: str, share: float, reference: float) -> Record:
    details = {"share": share, "reference_share": reference}
    return Record(name=name, verdict=PASS, message=f"{name}: said", details=details)


def test_accuracy_is_the_mean_over_the_tasks_of_each_side() -> None:
    ledger = Ledger([artifact()])
    ledger.reference = {"id": "original", "measured": {"ttft_ms": 2.0}}
    ledger.enter("a", shares("accuracy.code", 0.5, 0.75))
    ledger.enter("a", shares("accuracy.drill", 0.75, 1.0))
    ledger.enter("a", shares("edge.math", 0.0, 0.0), Subject(measured={"itl_ms": 1.0}))

    report = ledger.report({}, {})

    assert report.artifacts[0].measured == {"itl_ms": 1.0, "accuracy": 0.625}
    assert report.reference["measured"] == {"ttft_ms": 2.0, "accuracy": 0.875}
    assert ledger.reference["measured"] == {"ttft_ms": 2.0}
