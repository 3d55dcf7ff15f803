"""Samples and limits make rows; the account of what was measured and what was not."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.gate import Exact, Ledger, Subject, judge_row, overall
from qgate.records import Artifact, Estimate, Limit, Record, SourceLine, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PASS, FAIL, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.ERROR
INCONCLUSIVE, SKIPPED, INCOMPLETE = Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.INCOMPLETE
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


def estimate(value: float = 0.1, level: float = 0.95) -> Estimate:
    return Estimate(
        value=value,
        low=value - 0.01,
        high=value + 0.01,
        level=level,
        n=10,
        unit="nats",
        method="t",
    )


@dataclass(frozen=True)
class Share:
    """A difference of shares, and the original's own."""

    reference: float
    detectable: float = 0.0
    least: float | None = None
    """What somebody said is enough."""

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return Estimate(
            value=0.0, low=-0.004, high=0.004, level=level, n=1000, unit="difference",
            method="Tango score, paired", p_value=0.7,
        )  # fmt: skip

    def details(self, check: str) -> dict[str, Any]:
        said = {} if self.least is None else {"min_reference": self.least}
        return {**said, "reference_share": self.reference, "detectable_drop": self.detectable}


def drop_limit(rule: str, drop: float) -> Limit:
    source = SourceLine("team.yaml", 3)
    return Limit(check="accuracy.own", rule=rule, min=-drop, source=source)  # type: ignore[arg-type]


def test_a_task_on_which_everything_may_be_lost_is_no_pass() -> None:
    """All of nearly nothing is less than the limit allows."""
    limit = drop_limit("certify", 0.01)
    with pytest.raises(MeasurementError) as caught:
        judge_row("accuracy.own", limit, Share(reference=0.004))
    assert str(caught.value) == (
        "accuracy.own: the original itself has 0.004, and may lose 0.01 (team.yaml:3): nothing"
        " could fail; expected more than that. Name tasks that the model is used for, or write"
        " min_reference: 0"
    )
    assert judge_row("accuracy.own", limit, Share(reference=0.02)).verdict is PASS
    assert judge_row("accuracy.own", limit, Share(reference=0.004, least=0.0)).verdict is PASS


def test_a_silent_alarm_promises_no_more_than_its_test_can_see() -> None:
    silent = judge_row("accuracy.own", drop_limit("alarm", 0.01), Share(0.8, detectable=0.067))
    assert silent.verdict is PASS
    assert silent.message.endswith("would have seen -6.7 pp or less (4 times in 5)")


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


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Samples that say what they are told to, at the level and parameters that they are asked."""

    found: Callable[[float, Mapping[str, float]], Estimate | Mapping[str, Estimate]]
    more: dict[str, Any] = field(default_factory=dict)

    def estimate(
        self, check: str, level: float, parameters: Mapping[str, float]
    ) -> Estimate | Mapping[str, Estimate]:
        return self.found(level, parameters)

    def details(self, check: str) -> dict[str, Any]:
        return self.more


def limit_of(check: str, **changes: Any) -> Limit:
    given: dict[str, Any] = {"rule": "certify", "max": 0.2, **changes}
    return Limit(check=check, source=SourceLine("limits.yaml", 3), **given)


def test_a_row_without_a_limit_is_shown_and_not_judged() -> None:
    measured = Planted(found=lambda level, _: estimate(level=level), more={"a": 1})

    found = judge_row("divergence.kl_mean", None, measured)

    assert found.verdict is SKIPPED
    assert found.message == "divergence.kl_mean: measured, but no limit applies to it"
    assert found.estimate == estimate(level=0.95)
    assert found.details == {"a": 1}


def test_a_row_is_estimated_at_its_limits_own_level() -> None:
    limit = limit_of("divergence.kl_mean", level=0.99)

    found = judge_row(
        "divergence.kl_mean", limit, Planted(found=lambda level, _: estimate(level=level))
    )

    assert found.verdict is PASS
    assert found.estimate is not None
    assert found.estimate.level == 0.99
    assert found.limit is limit


def test_a_row_is_estimated_with_its_limits_own_parameters() -> None:
    limit = limit_of("latency.ttft_slo", parameters={"percentile": 0.5})

    found = judge_row(
        "latency.ttft_slo",
        limit,
        Planted(found=lambda _, parameters: estimate(parameters["percentile"])),
    )

    assert found.verdict is FAIL
    assert found.estimate == estimate(0.5)


FAMILY = {"de": estimate(0.1), "ru": estimate(0.3), "en": estimate(0.05)}


def test_a_family_is_judged_by_the_member_that_tells_and_keeps_them_all() -> None:
    measured = Planted(found=lambda *_: FAMILY, more={"a": 1})

    found = judge_row("edge.multilingual", limit_of("edge.multilingual"), measured)

    assert found.verdict is FAIL
    assert found.estimate == FAMILY["ru"]
    assert found.details["member"] == "ru"
    assert "ru" in found.message
    assert found.details["a"] == 1
    assert found.details["members"] == {
        name: {"value": one.value, "low": one.low, "high": one.high, "n": one.n}
        for name, one in FAMILY.items()
    }


def test_a_family_passes_only_where_every_member_does() -> None:
    limits = {0.32: PASS, 0.305: INCONCLUSIVE, 0.28: FAIL}

    for bound, wanted in limits.items():
        limit = limit_of("edge.multilingual", max=bound)
        found = judge_row("edge.multilingual", limit, Planted(found=lambda *_: FAMILY))
        assert found.verdict is wanted, bound


def test_a_family_without_a_limit_is_shown_and_not_judged() -> None:
    found = judge_row("edge.multilingual", None, Planted(found=lambda *_: FAMILY))

    assert found.verdict is SKIPPED
    assert found.details["members"].keys() == FAMILY.keys()


def test_a_family_without_members_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="got no members"):
        judge_row("edge.multilingual", limit_of("edge.multilingual"), Planted(found=lambda *_: {}))


def test_samples_that_carry_no_estimate_are_an_error_and_no_record() -> None:
    def refuse(*_: object) -> Estimate:
        raise MeasurementError("too few documents")

    for limit in (None, limit_of("divergence.kl_mean")):
        with pytest.raises(MeasurementError, match=r"^too few documents$"):
            judge_row("divergence.kl_mean", limit, Planted(found=refuse))


def test_an_estimate_of_a_teams_own_is_judged_as_it_is() -> None:
    record = judge_row("ours.share", limit_of("ours.share"), Exact(found=estimate(0.1)))

    assert (record.verdict, record.estimate, record.details) == (PASS, estimate(0.1), {})


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
