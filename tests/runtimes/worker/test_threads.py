"""Threads that work through a list together: every item once, in order, and no error lost."""

from __future__ import annotations

import threading
import time

import pytest

from qgate.runtimes.worker.threads import ThreadTeam


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_each_item_is_worked_on_once_and_results_keep_the_order(threads: int, count: int) -> None:
    seen: list[int] = []

    def work(item: int) -> int:
        seen.append(item)
        return item * item

    with ThreadTeam(threads) as team:
        assert team.map(work, range(count)) == [item * item for item in range(count)]

    assert sorted(seen) == list(range(count))


def test_the_threads_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=30)

    with ThreadTeam(3) as team:
        team.map(lambda _: together.wait(), range(3))


def test_a_slow_item_does_not_hold_up_the_others() -> None:
    def work(item: int) -> str:
        if item == 0:
            time.sleep(0.3)
        return threading.current_thread().name

    with ThreadTeam(2) as team:
        names = team.map(work, range(50))

    assert len(set(names)) == 2
    assert names.count(names[0]) == 1


@pytest.mark.parametrize("bad", [0, 7, 99])
def test_an_error_in_any_thread_reaches_the_caller(bad: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.0005)
        if item == bad:
            raise ArithmeticError(item)
        return item

    with ThreadTeam(2) as team:
        with pytest.raises(ArithmeticError, match=f"^{bad}$"):
            team.map(work, range(100))

        assert team.map(str, range(3)) == ["0", "1", "2"]
