"""How far a run is: what was expected of each phase against what was spent."""

from __future__ import annotations

import pytest

from qgate.planning import clock as clock_module
from qgate.planning.clock import RunClock, in_words


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr(clock_module, "time", found)
    return found


def spend(clock: RunClock, time: Time, model: str, phase: str, seconds: float) -> None:
    clock.begin(model, phase)
    time.now += seconds
    clock.end(model, phase, seconds)


EXPECTED = {("a", "load"): 2.0, ("a", "perplexity"): 58.0, ("a", "memory"): 60.0}


def test_a_run_that_keeps_its_time_is_half_done_at_half_of_it(time: Time) -> None:
    clock = RunClock(EXPECTED)

    spend(clock, time, "a", "load", 2.0)
    spend(clock, time, "a", "perplexity", 58.0)
    clock.begin("a", "memory")

    assert clock.left_s() == pytest.approx(60.0)
    assert clock.describe() == "50 %, about 60 s left"


def test_a_phase_that_stopped_early_is_done_when_the_next_begins(time: Time) -> None:
    clock = RunClock({**EXPECTED, ("a", "latency"): 30.0})
    spend(clock, time, "a", "perplexity", 58.0)
    spend(clock, time, "a", "memory", 6.0)

    clock.begin("a", "latency")

    # 64 s spent where 118 were expected: what is left is expected to be as much shorter
    assert clock.left_s() == pytest.approx((2.0 + 30.0) * 64 / 118)


def test_time_runs_within_a_phase(time: Time) -> None:
    clock = RunClock(EXPECTED)
    clock.begin("a", "perplexity")
    time.now += 20.0

    assert clock.left_s() == pytest.approx(2.0 + 38.0 + 60.0)
    assert clock.describe() == "17 %, about 2 min left"


def test_a_slow_machine_is_known_after_the_first_phases(time: Time) -> None:
    clock = RunClock(EXPECTED)
    spend(clock, time, "a", "perplexity", 116.0)
    clock.begin("a", "memory")

    assert clock.left_s() == pytest.approx((2.0 + 60.0) * 2)


def test_a_phase_within_another_does_not_end_it(time: Time) -> None:
    clock = RunClock(EXPECTED)
    clock.begin("a", "perplexity")
    spend(clock, time, "a", "load", 2.0)
    time.now += 8.0

    assert clock.left_s() == pytest.approx(50.0 + 60.0)


def test_nothing_is_waited_for_of_a_model_that_failed(time: Time) -> None:
    clock = RunClock({**EXPECTED, ("b", "load"): 3.0})
    spend(clock, time, "a", "load", 1.0)

    clock.close("a")

    assert clock.left_s() == pytest.approx(3.0)


def test_where_nothing_was_expected_nothing_is_said() -> None:
    assert RunClock({}).describe() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "about 5 s"),
        (42.0, "about 40 s"),
        (93.0, "about 95 s"),
        (560.0, "about 9 min"),
        (7_800.0, "about 2 h 10 min"),
        (7_200.0, "about 2 h"),
    ],
)
def test_durations_are_said_no_finer_than_they_are_known(seconds: float, text: str) -> None:
    assert in_words(seconds) == text
