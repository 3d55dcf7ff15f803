"""How much is asked is one word; what somebody set by hand wins over it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from qgate import stats
from qgate.errors import MeasurementError, ThresholdsError, UsageError
from qgate.planning.effort import EFFORTS, cut, find_effort
from qgate.thresholds import EdgeSettings, load_thresholds
from qgate.verdict import family_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgate.measure.probes import Probe
    from qgate.thresholds import Thresholds

SIZES = (
    *(
        "windows",
        "conversation_tokens",
        "long_context_tokens",
        "long_texts",
        "documents",
        "prompts",
        "answer_tokens",
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


def test_quick_asks_fewer_languages_no_sums_and_no_batches(tmp_path: Path) -> None:
    edges = {name: load(tmp_path, name).edge for name in EFFORTS}
    assert [edge.languages for edge in edges.values()] == [3, 64, 64]
    assert [edge.math_items for edge in edges.values()] == [0, 150, 400]
    assert [edge.batch_prompts for edge in edges.values()] == [0, 32, 96]
    # it takes what is typed in the remedy, and no 0
    assert load(tmp_path, "quick", "edge: {math_items: 150}").edge.math_items == 150
    assert load(tmp_path, "quick", "edge: {batch_prompts: 32}").edge.batch_prompts == 32
    with pytest.raises(ThresholdsError, match=r"edge\.batch_prompts: .* >= 6"):
        load(tmp_path, "quick", "edge: {batch_prompts: 0}")


LEAST = {"long_texts": 1, "warmup": 1}
"""What standard asks no more of than quick: the least that a file may ask."""


@pytest.mark.parametrize("size", SIZES)
def test_more_effort_is_never_less_of_anything(size: str) -> None:
    quick, standard, thorough = (getattr(EFFORTS[name], size) for name in EFFORTS)
    if size in LEAST:
        assert quick == standard == LEAST[size] < thorough
    else:
        assert quick < standard < thorough


@pytest.mark.parametrize(
    "product",
    [
        ("windows", "conversation_tokens"),
        ("long_texts", "long_context_tokens"),
        ("documents",),
        ("prompts", "answer_tokens"),
        ("context_tokens",),
    ],
    ids="-".join,
)
def test_quick_asks_a_third_of_what_standard_asks(product: tuple[str, ...]) -> None:
    """Tokens, of what costs: a window's, a text's, a document's, an answer's and a context's."""
    quick, standard = (
        math.prod(getattr(EFFORTS[name], size) for size in product)
        for name in ("quick", "standard")
    )
    assert quick <= standard / 3 + 1


def test_what_quick_asks_more_of_than_a_third_is_the_least_that_can_be_asked(
    tmp_path: Path,
) -> None:
    quick = EFFORTS["quick"]
    for section, key, least in (
        ("latency", "pairs", quick.pairs),
        ("latency", "output_tokens", quick.output_tokens),
        ("latency", "warmup", quick.warmup),
        ("memory", "batches", quick.batches),
        ("edge", "long_texts", quick.long_texts),
    ):
        load(tmp_path, "quick", f"{section}: {{{key}: {least}}}")
        with pytest.raises(ThresholdsError, match=rf"{section}\.{key}: .* >= {least}\b"):
            load(tmp_path, "quick", f"{section}: {{{key}: {least - 1}}}")
    # the whole family of alarms: so few show what changes in four of five, a third of them nothing
    names = load_thresholds(None, tmp_path).limits_for("any", "unlisted", "4 bits")
    error = 0.05 / family_size(names)
    assert stats.detectable_drop(quick.prompts, 0, alpha=error) < 0.8
    with pytest.raises(MeasurementError):
        stats.detectable_drop(quick.prompts // 3, 0, alpha=0.05)


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


def test_a_task_asks_no_more_items_than_its_own_line_says(tmp_path: Path) -> None:
    own = {task.name: task.max_samples for task in load_thresholds(None, tmp_path).tasks}
    assert {name: most for name, most in own.items() if most} == {
        "classification": 64,
        "next_sentence": 48,
    }
    for effort in EFFORTS:
        most = EFFORTS[effort].task_items or 10**9
        sizes = {task.name: task.max_samples for task in load(tmp_path, effort).tasks}
        wanted = {name: min(most, items or 10**9) for name, items in own.items()}
        assert sizes == {name: None if one == 10**9 else one for name, one in wanted.items()}


def test_what_a_file_sets_of_a_task_wins_over_the_effort(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"prompt": "1 + 1 =", "answer": "2"}\n')
    line = "tasks: {code: {file: own.jsonl, max_drop: 0.1, max_samples: 170}}"
    for effort in EFFORTS:
        sizes = {task.name: task.max_samples for task in load(tmp_path, effort, line).tasks}
        assert sizes["code"] == 170


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
