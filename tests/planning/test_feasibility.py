"""A limit that its items cannot decide is refused before anything runs."""

from __future__ import annotations

import dataclasses

import pytest

from qgate import stats
from qgate.errors import ThresholdsError
from qgate.planning.feasibility import ASSUMED_FLIP_RATE, Feasibility
from qgate.planning.noise_floor import Flips, Noise, describe
from qgate.records import Asked, Limit, SourceLine
from tests.planning.test_noise import NOISE

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


def test_asked_in_stages_it_is_held_to_the_interval_of_the_last_look() -> None:
    whole, staged = (Asked(check=CHECK, items=1500, is_sequential=may) for may in (False, True))
    lines = [Feasibility([one]).describe([{CHECK: a_limit()}])[0] for one in (whole, staged)]
    assert lines == [
        "qgate: accuracy.gsm8k: certify a drop of 2 pp with 1500 items: an undamaged artifact"
        " passes with a chance of 87% (6 % of answers assumed to flip)",
        "qgate: accuracy.gsm8k: certify a drop of 2 pp with up to 1500 items: an undamaged artifact"
        " passes with a chance of 86% (6 % of answers assumed to flip)",
    ]


def test_of_items_in_groups_only_the_most_is_said() -> None:
    grouped = Asked(check=CHECK, items=1500, is_grouped=True)
    (line,) = Feasibility([grouped]).describe([{CHECK: a_limit()}])
    assert "with a chance of at most 87%" in line


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


def a_floor(flips: int, items: int = 1000) -> Noise:
    seen = Flips(check=CHECK, items=items, flips=flips, upper=0.5, level=0.95, texts_differ=flips)
    return dataclasses.replace(NOISE, flips=(seen,), all_flips=seen)


def test_a_machine_noisier_than_what_is_assumed_needs_more_items() -> None:
    asked = Asked(check=CHECK, items=1500)
    limits = {CHECK: a_limit("auto")}
    assert Feasibility([asked], a_floor(10)).settle(limits)[CHECK].rule == "certify"
    noisy = Feasibility([asked], a_floor(200))
    assert noisy.settle(limits)[CHECK].rule == "alarm"
    with pytest.raises(ThresholdsError, match="20 % of answers flip in two runs of the"):
        noisy.settle({CHECK: a_limit()})


def test_the_reference_against_itself_is_a_floor_and_no_estimate_of_quantization() -> None:
    quiet = Feasibility([Asked(check=CHECK, items=200)], a_floor(0))
    with pytest.raises(ThresholdsError, match="6 % of answers assumed to flip"):
        quiet.settle({CHECK: a_limit()})


def test_the_floor_that_is_used_is_told() -> None:
    assert describe(a_floor(3)) == (
        "qgate: noise floor of 2026-01-31: llama-F16 in llama_cpp 0.3.36, run twice: 3 of 1000"
        " answers flip",
    )
    assert describe(None) == ()


def test_the_header_says_once_how_likely_a_decision_is() -> None:
    feasibility = Feasibility([Asked(check=CHECK, items=1500)])
    limits = feasibility.settle({CHECK: a_limit("auto")})
    chance = stats.chance_to_certify(1500, 0.02, ASSUMED_FLIP_RATE, 0.95)
    assert feasibility.describe([limits, limits]) == [
        "qgate: accuracy.gsm8k: certify a drop of 2 pp with 1500 items: an undamaged artifact"
        f" passes with a chance of {chance:.0%} (6 % of answers assumed to flip)"
    ]
    assert chance > 0.8


def test_the_header_says_how_likely_all_certified_rows_pass_together() -> None:
    other = "accuracy.intents"
    asked = [Asked(check=CHECK, items=1500), Asked(check=other, items=1200)]
    limits = {
        CHECK: a_limit(),
        other: dataclasses.replace(a_limit(), check=other),
        "accuracy.alarm": dataclasses.replace(a_limit("alarm"), check="accuracy.alarm"),
    }
    chances = [stats.chance_to_certify(n, 0.02, ASSUMED_FLIP_RATE, 0.95) for n in (1500, 1200)]

    *rows, together = Feasibility(asked).describe([{CHECK: a_limit()}, limits, limits])

    assert len(rows) == 2
    assert together == (
        "qgate: an undamaged artifact passes its 2 certified rows of items together with a chance"
        f" of {chances[0] * chances[1]:.0%}, were they independent"
    )
    assert chances[0] * chances[1] < min(chances) - 0.05
