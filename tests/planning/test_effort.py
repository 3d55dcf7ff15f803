"""How much is asked is one word; what somebody set by hand wins over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from qgate.errors import UsageError
from qgate.planning.effort import EFFORTS, cut, find_effort
from qgate.thresholds import EdgeSettings, load_thresholds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgate.measure.probes import Probe
    from qgate.thresholds import Thresholds

SIZES = (
    *(
        "windows",
        "long_context_tokens",
        "long_texts",
        "documents",
        "prompts",
        "batch_prompts",
        "math_items",
    ),
    *("pairs", "output_tokens", "warmup", "batches", "warmup_batches", "context_tokens"),
)


def load(directory: Path, effort: str, text: str = "") -> Thresholds:
    path = None
    if text:
        path = directory / "team.yaml"
        path.write_text(f"version: 1\n{text}\n")
    return load_thresholds(path, directory, find_effort(effort).over)


def test_standard_is_the_default_and_what_the_shipped_file_says(tmp_path: Path) -> None:
    assert find_effort(None) == find_effort("standard")
    shipped, sized = load_thresholds(None, tmp_path), load(tmp_path, "standard")
    for section in ("text", "edge", "latency", "memory"):
        assert getattr(sized, section) == getattr(shipped, section)


@pytest.mark.parametrize("size", SIZES)
def test_more_effort_is_never_less_of_anything(size: str) -> None:
    quick, standard, thorough = (getattr(EFFORTS[name], size) for name in EFFORTS)
    assert quick < standard < thorough


def test_quick_asks_a_third_of_what_standard_asks() -> None:
    """Tokens, of what costs: a window's, a text's, an answer's, a request's and a batch's."""
    quick, standard = EFFORTS["quick"], EFFORTS["standard"]
    for product in (
        ("windows",),
        ("long_texts", "long_context_tokens"),
        ("documents",),
        ("prompts",),
        ("batch_prompts",),
        ("pairs",),
        ("context_tokens",),
    ):
        asked = []
        for effort in (quick, standard):
            total = 1
            for size in product:
                total *= getattr(effort, size)
            asked.append(total)
        assert asked[0] <= asked[1] / 3 + 1
    # batches of growth may be no fewer than 30: the slope needs them
    assert quick.warmup_batches + quick.batches <= (standard.warmup_batches + standard.batches) / 2


def test_what_a_file_sets_by_hand_wins_key_by_key(tmp_path: Path) -> None:
    found = load(tmp_path, "quick", "text: {windows: 100}\nedge: {prompts: 7}")
    quick = EFFORTS["quick"]
    assert (found.text.windows, found.edge.prompts) == (100, 7)
    assert (found.edge.documents, found.latency.pairs) == (quick.documents, quick.pairs)


def test_a_file_that_inherits_nothing_has_the_sizes_all_the_same(tmp_path: Path) -> None:
    text = "inherit: none\nlatency: {pairs: 12}\nlimits: {perplexity.ratio: {max: 1.05}}"
    found = load(tmp_path, "thorough", text)
    assert found.text.windows == EFFORTS["thorough"].windows
    assert found.latency.pairs == 12


def test_shipped_tasks_ask_fewer_items_and_a_teams_own_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"prompt": "1 + 1 =", "answer": "2"}\n')
    found = load(tmp_path, "quick", "tasks: {own: {file: own.jsonl, max_drop: 0.1}}")
    sizes = {task.name: task.max_samples for task in found.tasks}
    assert sizes.pop("own") is None
    assert set(sizes.values()) == {EFFORTS["quick"].task_items}
    assert {task.max_samples for task in load(tmp_path, "thorough").tasks} == {None}


def test_limits_are_the_same_whatever_the_effort(tmp_path: Path) -> None:
    quick, thorough = load(tmp_path, "quick"), load(tmp_path, "thorough")
    assert quick.layers == thorough.layers


def test_an_effort_that_there_is_not_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError) as refusal:
        find_effort("quik")
    assert str(refusal.value) == (
        "--qgate-effort: got 'quik'; expected one of quick, standard, thorough."
        " Did you mean 'quick'?"
    )


@dataclass(frozen=True)
class Prompts:
    """A probe that notes which of its units it was cut to."""

    size: int
    numbers: tuple[int, ...] = ()
    is_mixed: bool = False
    checks: ClassVar[tuple[str, ...]] = ("edge.repetition",)

    def take(self, numbers: Sequence[int]) -> Prompts:
        return replace(self, size=len(numbers), numbers=tuple(numbers))


def cut_to(probe: Any, most: int) -> Any:
    return cut(cast("Probe", probe), EdgeSettings(prompts=most))


def test_units_are_spread_over_what_there_is() -> None:
    assert cut_to(Prompts(96), 6).numbers == (0, 16, 32, 48, 64, 80)
    assert cut_to(Prompts(96, is_mixed=True), 6).numbers == (0, 1, 2, 3, 4, 5)
    assert cut_to(Prompts(5), 6).numbers == ()
