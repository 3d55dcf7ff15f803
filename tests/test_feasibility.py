"""A limit that its items cannot decide is refused before anything runs."""

from __future__ import annotations

import pytest

from qgate import stats
from qgate.errors import ThresholdsError
from qgate.feasibility import ASSUMED_FLIP_RATE, Feasibility
from qgate.records import Asked, Limit, SourceLine

CHECK = "accuracy.gsm8k"


def a_limit(rule: str = "certify", drop: float = 0.02, level: float = 0.95) -> Limit:
    source = SourceLine("team.yaml", 7)
    return Limit(check=CHECK, rule=rule, min=0.0 - drop, level=level, source=source)  # type: ignore[arg-type]


def settle(limit: Limit, **known: object) -> Limit:
    asked = Asked(check=CHECK, **{"items": 200, **known})  # type: ignore[arg-type]
    return Feasibility([asked]).settle({CHECK: limit})[CHECK]


def test_two_points_on_200_items_are_refused_with_what_it_takes() -> None:
    with pytest.raises(ThresholdsError) as caught:
        settle(a_limit())
    chance = stats.chance_to_certify(200, 0.02, ASSUMED_FLIP_RATE, 0.95)
    needed = stats.items_to_certify(0.02, ASSUMED_FLIP_RATE, 0.95, 0.8)
    assert str(caught.value) == (
        "team.yaml:7: accuracy.gsm8k: certify a drop of 2 pp with 200 items can hardly be decided:"
        f" got a chance of {chance:.0%} that an undamaged artifact passes (6 % of answers assumed"
        f" to flip); expected at least 50%. Ask {needed} items for 80%, raise max_drop, write the"
        " flip_rate that you measured, or rule: auto or alarm"
    )
    assert 1000 < needed < 1500


def test_the_number_it_names_is_accepted() -> None:
    needed = stats.items_to_certify(0.02, ASSUMED_FLIP_RATE, 0.95, 0.8)
    assert settle(a_limit(), items=needed) == a_limit()


def test_auto_is_certified_where_the_items_suffice_and_an_alarm_elsewhere() -> None:
    assert settle(a_limit("auto"), items=1500).rule == "certify"
    assert settle(a_limit("auto"), items=200).rule == "alarm"


def test_fewer_flips_need_fewer_items() -> None:
    assert settle(a_limit(), items=600, flip_rate=0.005).rule == "certify"


def test_no_drop_at_all_cannot_be_certified_by_any_number() -> None:
    with pytest.raises(ThresholdsError, match="No number of items certifies a drop of 0: raise"):
        settle(a_limit(drop=0.0), items=100_000)


def test_an_alarm_has_nothing_to_decide() -> None:
    assert settle(a_limit("alarm"), items=2) == a_limit("alarm")


def test_of_scores_nothing_can_be_said_beforehand() -> None:
    assert settle(a_limit(), items=20, is_yes_or_no=False) == a_limit()
    assert settle(a_limit("auto"), items=20, is_yes_or_no=False).rule == "certify"


def test_rows_of_no_task_are_left_alone() -> None:
    limit = Limit(check="perplexity.ratio", rule="certify", max=1.05, source=SourceLine("a", 1))
    feasibility = Feasibility([])
    assert feasibility.settle({limit.check: limit}) == {limit.check: limit}
    assert feasibility.describe([{limit.check: limit}]) == []


def test_the_header_says_once_how_likely_a_decision_is() -> None:
    feasibility = Feasibility([Asked(check=CHECK, items=1500)])
    limits = feasibility.settle({CHECK: a_limit("auto")})
    chance = stats.chance_to_certify(1500, 0.02, ASSUMED_FLIP_RATE, 0.95)
    assert feasibility.describe([limits, limits]) == [
        "qgate: accuracy.gsm8k: certify a drop of 2 pp with 1500 items: an undamaged artifact"
        f" passes with a chance of {chance:.0%} (6 % of answers assumed to flip)"
    ]
    assert chance > 0.8
