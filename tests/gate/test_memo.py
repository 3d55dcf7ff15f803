"""What was found out once is not found out again, and neither is why it could not be."""

from __future__ import annotations

import pytest

from qgate.errors import MeasurementError
from qgate.gate.memo import Memo


def test_a_result_is_made_once() -> None:
    memo, made = Memo(), []

    for _ in range(3):
        assert memo.get_or_compute(("a", "rows"), lambda: made.append(1) or len(made)) == 1
    assert memo.peek(("a", "rows")) == 1


def test_names_are_apart() -> None:
    memo = Memo()
    assert [memo.get_or_compute((name,), lambda name=name: name.upper()) for name in "ab"] == [
        "A",
        "B",
    ]


def test_a_failure_is_the_same_each_time_and_no_result() -> None:
    memo, tries = Memo(), []

    def fail() -> None:
        tries.append(1)
        raise MeasurementError(f"failed {len(tries)}")

    for _ in range(2):
        with pytest.raises(MeasurementError, match="failed 1"):
            memo.get_or_compute(("a",), fail)
    assert memo.peek(("a",)) is None


def test_what_is_no_measurement_error_is_not_remembered() -> None:
    memo = Memo()
    with pytest.raises(ZeroDivisionError):
        memo.get_or_compute(("a",), lambda: 1 // 0)
    assert memo.get_or_compute(("a",), lambda: 2) == 2


def test_nothing_is_known_of_what_was_not_asked() -> None:
    assert Memo().peek(("a",)) is None
