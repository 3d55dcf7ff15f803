"""Members are the marked tokens, each paired; together they are wrong no more often than one."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import stats
from qgate.errors import MeasurementError
from qgate.measure.edge.families import PerplexityFamily, Tokens
from qgate.records import Estimate, Limit, SourceLine, Verdict
from qgate.runtimes.base import Span
from qgate.runtimes.requests import ScoredRange, Work
from qgate.verdict import judge_family
from tests.support.outcomes import make_outcome, pair

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECK = "edge.multilingual"
LEVEL = 0.95
SEED = 20_261_124


def span(size: int, first: int = 0) -> Span:
    return Span(ids=np.arange(size, dtype=np.int32), first=first)


WORK = Work(
    spans=(span(10), span(6, first=2), span(8)),
    ranges=(
        ScoredRange(member="a", span=0, start=1, stop=4),
        ScoredRange(member="b", span=0, start=6, stop=10),
        ScoredRange(member="a", span=1, start=3, stop=6),
        ScoredRange(member="b", span=2, start=2, stop=3),
    ),
)


def positions(offset: float) -> list[list[float]]:
    """Each scored token's value says which span and position it is of."""
    return [
        [offset + 100 * number + place for place in range(one.first + 1, len(one.ids))]
        for number, one in enumerate(WORK.spans)
    ]


def test_a_member_has_the_tokens_that_are_marked_and_no_others() -> None:
    family = PerplexityFamily.read(
        pair(make_outcome(nll=positions(0.5)), make_outcome(nll=positions(0.0)), WORK)
    )

    assert family.members.keys() == {"a", "b"}
    a, b = family.members["a"], family.members["b"]
    assert a.reference_nll.tolist() == [1, 2, 3, 103, 104, 105]
    assert b.reference_nll.tolist() == [6, 7, 8, 9, 202]
    assert a.documents.tolist() == [0, 0, 0, 1, 1, 1]
    assert b.documents.tolist() == [0, 0, 0, 0, 2]
    for member in (a, b):
        assert (member.artifact_nll - member.reference_nll).tolist() == [0.5] * len(
            member.documents
        )


def draw(rng: np.random.Generator, documents: int, tokens: int, damage: float = 0.0) -> Tokens:
    """Documents that differ in how much the artifact loses or gains on them, and skewed tokens."""
    count = documents * tokens
    owners = np.repeat(np.arange(documents), tokens)
    reference = rng.gamma(0.8, 2.5, count)
    noise = rng.normal(0.0, 0.03, documents)[owners] + 0.15 * (rng.exponential(1.0, count) - 1.0)
    return Tokens(
        artifact_nll=reference + damage + noise, reference_nll=reference, documents=owners
    )


def test_each_member_is_the_paired_ratio_of_perplexities() -> None:
    rng = np.random.default_rng(SEED)
    members = {name: draw(rng, 12, 40, 0.1) for name in ("a", "b")}

    found = PerplexityFamily(members=members).estimate(CHECK, LEVEL, {})

    for name, tokens in members.items():
        alone = stats.perplexity_ratio(
            tokens.artifact_nll, tokens.reference_nll, tokens.documents, level=0.975
        )
        gaps = tokens.artifact_nll - tokens.reference_nll
        assert found[name].value == pytest.approx(math.exp(gaps.mean()))
        assert (found[name].low, found[name].high) == (alone.low, alone.high)
        assert (found[name].level, found[name].n, found[name].unit) == (LEVEL, 480, "ratio")


def test_details_tell_each_members_perplexities_and_are_json() -> None:
    rng = np.random.default_rng(SEED)
    members = {name: draw(rng, 12, 40) for name in ("a", "b")}

    details = PerplexityFamily(members=members, more={"recall": {"a": 3}}).details(CHECK)

    assert json.loads(json.dumps(details)) == details
    assert details["recall"] == {"a": 3}
    for name, tokens in members.items():
        assert details["perplexities"][name] == {
            "perplexity": pytest.approx(math.exp(tokens.artifact_nll.mean())),
            "reference_perplexity": pytest.approx(math.exp(tokens.reference_nll.mean())),
            "n": 480,
        }


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_member_with_a_number_that_is_none_voids_the_family(bad: float) -> None:
    rng = np.random.default_rng(SEED)
    members = {name: draw(rng, 12, 40) for name in ("a", "b")}
    members["b"].artifact_nll[7] = bad

    with pytest.raises(MeasurementError, match=r"^b: .*not finite"):
        PerplexityFamily(members=members).estimate(CHECK, LEVEL, {})


def test_a_member_of_one_document_voids_the_family() -> None:
    rng = np.random.default_rng(SEED)
    members = {"a": draw(rng, 12, 40), "b": draw(rng, 1, 40)}

    with pytest.raises(MeasurementError, match=r"^b: "):
        PerplexityFamily(members=members).estimate(CHECK, LEVEL, {})


# --- how often they are wrong ---------------------------------------------------------------------

ALARM = Limit(check=CHECK, rule="alarm", max=1.0, source=SourceLine("limits.yaml", 1))
CERTIFY = Limit(check=CHECK, rule="certify", max=1.05, source=SourceLine("limits.yaml", 2))
MEMBERS = 8
SHAPES = {"24 documents a language": (24, 60), "8 prompts of 12 tokens": (8, 12)}


def noise(share: float, repetitions: int) -> float:
    """Three standard errors of a simulated share."""
    return 3 * math.sqrt(share * (1 - share) / repetitions)


def families(shape: str, repetitions: int, damage: float = 0.0) -> list[Mapping[str, Estimate]]:
    """Of eight members, each damaged by so many nats."""
    rng = np.random.default_rng(SEED)
    documents, tokens = SHAPES[shape]
    return [
        PerplexityFamily(
            members={str(member): draw(rng, documents, tokens, damage) for member in range(MEMBERS)}
        ).estimate(CHECK, LEVEL, {})
        for _ in range(repetitions)
    ]


@pytest.mark.parametrize("repetitions", [250, pytest.param(4_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", SHAPES)
def test_eight_undamaged_members_raise_an_alarm_no_more_often_than_one(
    shape: str, repetitions: int
) -> None:
    found = families(shape, repetitions)
    covered = np.mean(
        [all(one.low <= 1 <= one.high for one in family.values()) for family in found]
    )
    alarms = np.mean([judge_family(family, ALARM)[1] is Verdict.FAIL for family in found])

    assert covered >= LEVEL - noise(LEVEL, repetitions)
    assert alarms <= 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_eight_members_at_their_limit_are_hardly_ever_certified(shape: str) -> None:
    """Exactly at it: certified is what none of them is above."""
    assert CERTIFY.max is not None
    found = families(shape, 250, math.log(CERTIFY.max))
    passes = np.mean([judge_family(family, CERTIFY)[1] is Verdict.PASS for family in found])

    assert passes <= 0.05


def test_one_damaged_member_of_eight_is_found() -> None:
    rng = np.random.default_rng(SEED)
    documents, tokens = SHAPES["24 documents a language"]
    told = []
    for _ in range(50):
        members = {str(member): draw(rng, documents, tokens) for member in range(MEMBERS - 1)}
        members["worst"] = draw(rng, documents, tokens, 0.05)
        told.append(
            judge_family(PerplexityFamily(members=members).estimate(CHECK, LEVEL, {}), ALARM)
        )

    assert np.mean([one == ("worst", Verdict.FAIL) for one in told]) > 0.9
