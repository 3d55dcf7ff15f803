"""Shows recorded times in pytest-benchmark's table and JSON; nothing is timed again.

pytest-benchmark times a function with the timer of its fixture. The function here does nothing and
the timer reads the record, so that its table, `--benchmark-json` and `--benchmark-compare` hold the
very numbers that the gate judged. Under `--benchmark-disable` and pytest-xdist that plugin shows
nothing. Whoever hands in the fixture sees to `--benchmark-skip`, which skips a test that asks for
it. Read in pytest-benchmark 5.3.1; `_timer` is the one name of it that is not public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class _Replay:
    """A timer that is read before and after each round: 0, then the seconds that were recorded."""

    __name__ = "recorded by qgate"

    def __init__(self, seconds: Sequence[float]) -> None:
        self._readings = _readings(seconds)

    def __call__(self) -> float:
        return next(self._readings)


def _readings(seconds: Sequence[float]) -> Iterator[float]:
    for one in seconds:
        yield 0.0
        yield one


def show(
    benchmark: Any,  # noqa: ANN401 - pytest-benchmark's fixture; the package may be absent
    name: str,
    seconds: Sequence[float],
    extra_info: Mapping[str, Any],
) -> None:
    """Enter a row; rows of the same check make a table of their own.

    Args:
        benchmark: the test's `benchmark` fixture, used by nobody else.
        name: `check[artifact]`; what `--benchmark-compare` finds a row again by, wherever the
            checklist is installed.
        seconds: one a round, as they were recorded.
        extra_info: JSON values.
    """
    benchmark.name = benchmark.fullname = name
    benchmark.group = name.partition("[")[0]
    benchmark.extra_info.update(extra_info)
    benchmark._timer = _Replay(seconds)
    benchmark.pedantic(_nothing, rounds=len(seconds), iterations=1)


def _nothing() -> None:
    pass
