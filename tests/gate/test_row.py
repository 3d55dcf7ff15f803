"""Samples and limits make rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.gate.row import Exact, judge_row, leave_to_leader
from qgate.records import Estimate, Limit, SourceLine
from tests.support.verdicts import FAIL, INCONCLUSIVE, PASS, SKIPPED, estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Share:
    """A difference of shares, and the reference's own."""

    reference: float
    detectable: float = 0.0

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return Estimate(
            value=0.0, low=-0.004, high=0.004, level=level, n=1000, unit="difference",
            method="Tango score, paired", p_value=0.7,
        )  # fmt: skip

    def details(self, check: str) -> dict[str, Any]:
        return {"reference_share": self.reference, "detectable_drop": self.detectable}


def drop_limit(rule: str, drop: float) -> Limit:
    source = SourceLine("team.yaml", 3)
    return Limit(check="accuracy.own", rule=rule, min=-drop, source=source)  # type: ignore[arg-type]


def test_a_silent_alarm_promises_no_more_than_its_test_can_see() -> None:
    silent = judge_row("accuracy.own", drop_limit("alarm", 0.01), Share(0.8, detectable=0.067))
    assert silent.verdict is PASS
    assert silent.details["would_have_seen"] == "-6.7 pp or less"
    assert silent.message.endswith("; no damage seen")


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


def test_an_open_row_is_left_to_a_leading_row_that_fails_and_to_no_other() -> None:
    tail, mean = limit_of("divergence.kl_p99", max=0.1), limit_of("divergence.kl_mean", max=0.1)
    wide = Planted(found=lambda level, _: estimate(0.15, level, half_width=0.1))
    narrow = Planted(found=lambda level, _: estimate(0.15, level))
    sound = Planted(found=lambda level, _: estimate(0.05, level))
    still_open = judge_row("divergence.kl_p99", tail, wide)
    fails, passes = (judge_row("divergence.kl_mean", mean, one) for one in (narrow, sound))

    left = leave_to_leader(still_open, fails)

    assert still_open.verdict is INCONCLUSIVE
    assert left.verdict is SKIPPED
    assert (left.estimate, left.limit) == (still_open.estimate, tail)
    assert left.message.startswith("divergence.kl_p99: 0.15")
    assert left.message.endswith(
        "; not decided: the artifact fails by divergence.kl_mean, on the same text"
    )
    assert "would decide" not in left.message
    for leader in (None, passes, still_open):
        assert leave_to_leader(still_open, leader) is still_open
    for decided in (fails, passes):
        assert leave_to_leader(decided, fails) is decided
