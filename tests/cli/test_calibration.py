"""Two runs in different orders are paired item by item, and what differs has an exact upper end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.calibrate import Asked, as_the_original_is, choose_runtime, find_original
from qgate.cli.calibration.estimating import count_flips, visible_slowdown
from qgate.cli.calibration.order import back_in_order, in_another_order
from qgate.errors import UsageError
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.records import Estimate
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.messages import Batch
from qgate.runtimes.ragged import from_flat, to_flat
from qgate.runtimes.requests import Work, perform
from qgate.stats.binomial import upper_share
from qgate.thresholds import RuntimeOptions, RuntimeSettings, Thresholds
from tests.conftest import Toy, write_toy

if TYPE_CHECKING:
    from collections.abc import Callable

WORK = Work(
    spans=tuple(Span(ids=np.arange(n, n + 4, dtype=np.int32), first=1) for n in range(5)),
    batches=(
        Batch(prompts=tuple(Prompt(ids=np.array([n]), max_tokens=n + 1) for n in range(7))),
        Batch(prompts=(Prompt(ids=np.array([9]), max_tokens=3),), side_by_side=1),
    ),
)


class Echo:
    """Answers each prompt and span by what is in it, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], int]] = []

    def call(self, verb: str, **args: Any) -> dict[str, Any]:
        ids = from_flat(args["ids"])
        if verb == "score_spans":
            return {
                "nll_nats": to_flat([one[2:].astype(np.float64) for one in ids], "<f8"),
                "is_top": to_flat([one[2:] % 2 == 0 for one in ids], "|b1"),
            }
        self.asked.append(([int(one[0]) for one in ids], args["side_by_side"]))
        said = [np.repeat(one, most) for one, most in zip(ids, args["max_tokens"], strict=True)]
        return {
            "answers": to_flat(said, "<i4"),
            "ends": np.array([int(one[0]) for one in ids]),
            "texts": [f"said {one[0]}" for one in ids],
            "margins_nats": to_flat([np.append(one, 0.0) for one in said], "<f4"),
        }


# --- order ----------------------------------------------------------------------------------------


def test_the_second_run_is_asked_last_to_first_and_fewer_side_by_side() -> None:
    host: Any = Echo()

    perform(in_another_order(WORK), host, ())

    assert host.asked == [([6, 5, 4, 3, 2, 1, 0], 8), ([9], 1)]


def test_answers_put_back_are_those_of_the_first_order() -> None:
    host: Any = Echo()
    first = perform(WORK, host, (2,))
    second = back_in_order(perform(in_another_order(WORK), host, (2,)))

    assert [one.texts for one in second.answers] == [one.texts for one in first.answers]
    assert second.end_tokens == first.end_tokens
    for name in ("nll_nats", "is_top"):
        assert same(getattr(first, name), getattr(second, name)), name
    for one, other in zip(first.answers, second.answers, strict=True):
        assert one.ends.tolist() == other.ends.tolist()
        assert same(one.ids, other.ids)
        assert same(one.margins_nats, other.margins_nats)


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return [part.tolist() for part in one] == [part.tolist() for part in other]


# --- estimates ------------------------------------------------------------------------------------


def test_where_none_of_300_flips_one_percent_is_not_ruled_out() -> None:
    assert 2.9 / 300 < upper_share(300, 0, 0.95) < 3 / 300


def test_flips_count_both_ways_and_texts_on_their_own() -> None:
    one = PairedAnswers(
        artifact=np.array([True, False, True, True]),
        reference=np.array([False, True, True, True]),
        is_good=True,
        prompts=("p",) * 4,
        artifact_texts=("a", "b", "c", "d"),
        reference_texts=("x", "y", "z", "d"),
    )

    found = count_flips("all", [one, one], 0.95)

    assert (found.items, found.flips, found.texts_differ) == (8, 4, 6)
    assert found.upper == upper_share(8, 4, 0.95)


@pytest.mark.parametrize(("low", "high", "seen"), [(0.98, 1.01, 1 / 0.98), (1.01, 1.05, 1.05)])
def test_a_slowdown_is_seen_beyond_the_end_that_is_furthest_from_one(
    low: float, high: float, seen: float
) -> None:
    ratio = Estimate(
        value=(low + high) / 2, low=low, high=high, level=0.95, n=24, unit="ratio", method=""
    )
    assert visible_slowdown(ratio) == seen


# --- the original and its runtime -----------------------------------------------------------------


def asking(path: Path, reference: Path | None = None) -> Asked:
    return Asked(
        path=path,
        reference=reference,
        thresholds=None,
        runtime=None,
        json=Path("noise.json"),
        trust_remote_code=False,
    )


@pytest.mark.parametrize("name", [".", "original.gguf", "quantized.gguf"])
def test_the_original_is_found_in_beside_or_at_the_path(
    toys: Callable[..., Path], name: str
) -> None:
    directory = toys(quantized=Toy())

    assert find_original(asking(directory / name)).path.name == "original.gguf"


def test_a_named_original_is_taken(toys: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    named = write_toy(tmp_path / "elsewhere" / "mine.gguf", Toy(scheme="F32"))

    assert find_original(asking(toys(quantized=Toy()), named)).id == "mine"


def test_a_directory_named_as_the_original_is_refused(toys: Callable[..., Path]) -> None:
    directory = toys(quantized=Toy())

    with pytest.raises(
        UsageError, match=r"--reference: .*: got 2 artifacts; expected one original"
    ):
        find_original(asking(directory, directory))


def test_the_runtime_is_that_in_which_the_gate_serves_the_original(
    toys: Callable[..., Path],
) -> None:
    [original] = discover([toys() / "original.gguf"])
    by_name = Thresholds(runtime=RuntimeSettings(name="fake"))
    by_reference = Thresholds(runtime=RuntimeSettings(name="llama_cpp", reference="fake"))

    assert choose_runtime(original, Thresholds(), None) == "llama_cpp"
    assert choose_runtime(original, by_name, None) == "fake"
    assert choose_runtime(original, by_reference, None) == "fake"
    assert choose_runtime(original, by_reference, "llama_cpp") == "llama_cpp"


def test_both_runs_are_served_as_the_original_is() -> None:
    options = {"url": "http://a/v1", "reference_url": "http://b/v1", "timeout_s": 9}
    thresholds = Thresholds(
        runtime=RuntimeSettings(reference="fake"),
        runtimes={"openai_server": RuntimeOptions(options=options)},
    )

    changed = as_the_original_is(thresholds, "openai_server")

    assert (changed.runtime.name, changed.runtime.reference) == ("openai_server", None)
    assert changed.runtimes["openai_server"].options == {**options, "url": "http://b/v1"}


def test_the_artifacts_server_is_not_taken_for_the_originals() -> None:
    alone = {"openai_server": RuntimeOptions(options={"url": "http://a/v1"})}

    with pytest.raises(UsageError, match="expected reference_url beside it"):
        as_the_original_is(Thresholds(runtimes=alone), "openai_server")
