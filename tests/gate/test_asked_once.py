"""Nothing is asked twice, of an artifact or of the reference."""

from __future__ import annotations

from typing import Any

from tests.conftest import Toy
from tests.gate.conftest import CHECKS, Begin, Log, Toys, ask_everything


def test_nothing_starts_before_something_is_asked(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy())) as run:
        assert not run.measurer.children.references

    assert log.started == 0


def test_asking_again_costs_nothing_and_says_the_same(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy())) as run:
        first = ask_everything(run, "a")
        log.clear()
        again = ask_everything(run, "a")

    assert all(one is other for one, other in zip(first, again, strict=True))
    assert log.asked == []


def test_rows_of_one_probe_are_one_measurement(toys: Toys, begin: Begin) -> None:
    with begin(toys(a=Toy())) as run:
        one, other = (
            run.measurer.probe(run.servings["a"], check)
            for check in ("edge.repetition", "edge.answer_length")
        )

    assert one is other


def test_an_artifact_and_the_reference_have_one_child_each_and_load_once(
    toys: Toys, begin: Begin, log: Log
) -> None:
    with begin(toys(a=Toy())) as run:
        ask_everything(run, "a")

    assert log.started == 2
    assert log.verbs("a").count("load") == 1
    # the store asks the child itself for its load; the child knows that it has the model
    assert log.verbs("original").count("load") <= 2


def test_the_next_artifact_asks_the_reference_nothing_but_its_times(
    toys: Toys, begin: Begin, log: Log
) -> None:
    with begin(toys(a=Toy(), b=Toy(noise=0.2))) as run:
        ask_everything(run, "a")
        log.clear()
        ask_everything(run, "b")

    assert set(log.verbs("original")) == {"time"}
    assert log.started == 1


def test_both_sides_do_the_same_work(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy(), b=Toy())) as run:
        for name in "ab":
            for check in CHECKS:
                run.measurer.probe(run.servings[name], check)

    work = ["score_spans", "answer", "answer", "answer"]
    # it is asked a document of each language first, to learn which of them it speaks
    assert [verb for verb in log.verbs("original") if verb in work] == ["score_spans", *work]
    assert [verb for verb in log.verbs("b") if verb != "load"] == work


def test_an_equal_artifact_shows_no_damage(toys: Toys, begin: Begin) -> None:
    with begin(toys(same=Toy())) as run:
        serving = run.servings["same"]
        for check in CHECKS:
            found: Any = run.measurer.probe(serving, check)
            estimate = found.estimate(check, 0.95, {})
            members = estimate.values() if isinstance(estimate, dict) else [estimate]
            assert {one.value for one in members} <= {0.0, 1.0}
