"""Which row of which artifact a test is: its mark and its parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.checks import LINES, area_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qgate.records import Artifact, Limit


def row_of(item: pytest.Item) -> tuple[str | None, Artifact | None]:
    """The row's public name from the test's `qgate` mark, and its artifact; None where it is none.

    A name may hold a parameter of the test: `accuracy.{task}`.
    """
    mark = item.get_closest_marker("qgate")
    callspec = getattr(item, "callspec", None)
    parameters = callspec.params if callspec else {}
    name = str(mark.args[0]) if mark and mark.args else None
    for parameter, value in parameters.items():
        if name and isinstance(value, str):
            name = name.replace(f"{{{parameter}}}", value)
    return name, parameters.get("artifact")


def mark_by_name(item: pytest.Item) -> None:
    """Let `-k` know a row by its name, and `-m` by its line of the checklist."""
    name, _ = row_of(item)
    if name is None:
        return
    item.extra_keyword_matches.add(name)
    line = "perplexity" if area_of(name) == "divergence" else area_of(name)
    if line in LINES:
        item.add_marker(line)


def check_of(item: pytest.Item) -> str:
    """The row's public name.

    Raises:
        pytest.UsageError: the test has none.
    """
    name, _ = row_of(item)
    if name is None:
        raise pytest.UsageError(
            f"{item.nodeid}: no name for this row. Mark the test: @pytest.mark.qgate('area.name')"
        )
    return name


def is_wanted(item: pytest.Item, limits: Callable[[Artifact], Mapping[str, Limit]]) -> bool:
    """False for rows that are there only where somebody sets a limit, and for a row of no task."""
    from qgate.checks import ONLY_WITH_LIMIT

    name, artifact = row_of(item)
    if name is not None and "{" in name:
        return False
    return artifact is None or name not in ONLY_WITH_LIMIT or name in limits(artifact)


def offer_benchmarks(items: Iterable[pytest.Item]) -> None:
    """Have pytest-benchmark take rows that show in its table for benchmarks."""
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        if "in_table" in names and "benchmark" not in names:
            names.append("benchmark")
