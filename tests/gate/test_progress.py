"""What a user sees while long work runs: one line that is wiped, or a line every half minute."""

from __future__ import annotations

import pytest

from qgate.gate import progress
from qgate.gate.progress import LOG_EVERY_S, REDRAW_EVERY_S, ProgressLine


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def drawn(text: str, column: int = 0) -> str:
    """What is sent to show a text on the line below, the cursor back in its column."""
    back = f"\x1b[{column}C" if column else ""
    return f"\n\r{text}\x1b[K\x1b[1A\r{back}"


def make(written: list[str], *, is_terminal: bool = True, width: int = 60) -> ProgressLine:
    line = ProgressLine(written.append, is_terminal=is_terminal, width=width)
    line.begin("model-Q4_K_M")
    return line


def test_a_terminal_shows_one_line_that_is_rewritten(clock: Clock) -> None:
    written: list[str] = []
    line = make(written)

    clock.now += 3.2
    line.step("scoring", 5, 64)
    clock.now += 60.0
    line.step("scoring", 64, 64)
    clock.now += 1.0
    line.step("load", 0, 0)

    assert written == [
        drawn("qgate: model-Q4_K_M: scoring 5/64, 3 s"),
        drawn("qgate: model-Q4_K_M: scoring 64/64, 63 s"),
        drawn("qgate: model-Q4_K_M: load, 64 s"),
    ]


def test_a_terminal_is_not_redrawn_more_often_than_anyone_can_see(clock: Clock) -> None:
    written: list[str] = []
    line = make(written)

    for number in range(1000):
        clock.now += 0.001
        line.step("scoring", number, 1000)

    assert len(written) == pytest.approx(1.0 / REDRAW_EVERY_S, abs=1)


def test_the_line_is_wiped_when_the_work_ends(clock: Clock) -> None:
    written: list[str] = []
    line = make(written)
    clock.now += 1.0
    line.step("scoring", 1, 2)

    line.end()
    line.end()

    assert written[1:] == [drawn("")]


def test_work_that_ends_at_once_writes_nothing(clock: Clock) -> None:
    for is_terminal in (True, False):
        written: list[str] = []
        line = make(written, is_terminal=is_terminal)
        clock.now += REDRAW_EVERY_S / 2
        line.step("scoring", 1, 2)
        line.end()

        assert written == []


def test_a_log_gets_a_line_every_half_minute(clock: Clock) -> None:
    written: list[str] = []
    line = make(written, is_terminal=False)

    for second in range(1, 101):
        clock.now += 1.0
        line.step("scoring", second, 100)
    line.end()

    assert LOG_EVERY_S == 30.0
    assert written == [
        "qgate: model-Q4_K_M: scoring 30/100, 30 s\n",
        "qgate: model-Q4_K_M: scoring 60/100, 60 s\n",
        "qgate: model-Q4_K_M: scoring 90/100, 90 s\n",
    ]


def test_the_clock_starts_anew_for_each_subject(clock: Clock) -> None:
    written: list[str] = []
    line = make(written)
    clock.now += 500.0
    line.begin("other")
    clock.now += 1.0
    line.step("scoring", 1, 2)

    assert written == [drawn("qgate: other: scoring 1/2, 1 s")]


@pytest.mark.parametrize("width", [200, 80, 40, 10, 2, 1, 0])
def test_no_line_is_wider_than_the_terminal(clock: Clock, width: int) -> None:
    written: list[str] = []
    line = make(written, width=width)
    clock.now += 1.0
    line.step("a long description of what is going on in there", 12345, 67890)
    line.end()

    # the last column stays free: writing it moves some terminals to the next line
    whole = "qgate: model-Q4_K_M: a long description of what is going on in there 12345/67890, 1 s"
    assert written == [drawn(whole[: max(width - 1, 0)]), drawn("")]


def test_the_cursor_goes_back_to_where_pytest_left_it(clock: Clock) -> None:
    written: list[str] = []
    line = ProgressLine(written.append, is_terminal=True, width=80, column=lambda: 17)
    line.begin("model")
    clock.now += 1.0
    line.step("scoring", 1, 2)
    line.end()

    assert written == [drawn("qgate: model: scoring 1/2, 1 s", 17), drawn("", 17)]


def test_how_far_the_whole_run_is_comes_first(clock: Clock) -> None:
    written: list[str] = []
    line = ProgressLine(
        written.append, is_terminal=True, width=80, overall=lambda: "41 %, about 3 min left"
    )
    line.begin("model")
    clock.now += 1.0
    line.step("scoring", 1, 2)

    assert written == [drawn("qgate: 41 %, about 3 min left: model: scoring 1/2, 1 s")]
