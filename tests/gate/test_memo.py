"""What was found out once is not found out again, and neither is why it could not be."""

from __future__ import annotations

import pytest

from qgate.errors import MeasurementError
from qgate.gate.memo import Known


def test_a_result_is_made_once() -> None:
    known, made = Known(), []

    for _ in range(3):
        assert known.once(("a", "rows"), lambda: made.append(1) or len(made)) == 1
    assert known.result(("a", "rows")) == 1


def test_names_are_apart() -> None:
    known = Known()
    assert [known.once((name,), lambda name=name: name.upper()) for name in "ab"] == ["A", "B"]


def test_a_failure_is_the_same_each_time_and_no_result() -> None:
    known, tries = Known(), []

    def fail() -> None:
        tries.append(1)
        raise MeasurementError(f"failed {len(tries)}")

    for _ in range(2):
        with pytest.raises(MeasurementError, match="failed 1"):
            known.once(("a",), fail)
    assert known.result(("a",)) is None


def test_what_is_no_measurement_error_is_not_remembered() -> None:
    known = Known()
    with pytest.raises(ZeroDivisionError):
        known.once(("a",), lambda: 1 // 0)
    assert known.once(("a",), lambda: 2) == 2


def test_nothing_is_known_of_what_was_not_asked() -> None:
    assert Known().result(("a",)) is None
