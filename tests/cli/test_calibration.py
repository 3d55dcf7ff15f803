"""Two runs in different orders are paired item by item, and what differs has an exact upper end."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.cli.calibrate import as_the_reference_is, choose_runtime, find_reference
from qgate.cli.calibration.measuring import back_in_order, count_flips, in_another_order
from qgate.cli.calibration.rendering import visible_slowdown
from qgate.errors import UsageError
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.records import Estimate
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.messages import Answers, Batch
from qgate.runtimes.requests import Outcome, Work
from qgate.stats.binomial import upper_share
from qgate.thresholds import RuntimeOptions, RuntimeSettings, Thresholds
from tests.conftest import Toy, write_toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORK = Work(
    spans=tuple(Span(ids=np.arange(n, n + 4, dtype=np.int32), first=1) for n in range(5)),
    batches=(
        Batch(prompts=tuple(Prompt(ids=np.array([n]), max_tokens=n + 1) for n in range(7))),
        Batch(prompts=(Prompt(ids=np.array([9]), max_tokens=3),), batch_size=1),
    ),
)


def echoed(work: Work) -> Outcome:
    """Answers each prompt and span by what is in it."""
    ids = [[prompt.ids for prompt in batch.prompts] for batch in work.batches]
    return Outcome(
        nll_nats=tuple(span.ids[2:].astype(np.float64) for span in work.spans),
        is_top=tuple(span.ids[2:] % 2 == 0 for span in work.spans),
        answers=tuple(
            Answers(
                ids=tuple(batch),
                ends=np.array([int(one[0]) for one in batch]),
                texts=tuple(f"said {one[0]}" for one in batch),
                margins_nats=tuple(one / 2 for one in batch),
            )
            for batch in ids
        ),
        end_tokens=(2,),
    )


# --- order ----------------------------------------------------------------------------------------


def test_the_second_run_is_asked_last_to_first_and_fewer_side_by_side() -> None:
    asked = [
        ([int(prompt.ids[0]) for prompt in batch.prompts], batch.batch_size)
        for batch in in_another_order(WORK).batches
    ]
    assert asked == [([6, 5, 4, 3, 2, 1, 0], 8), ([9], 1)]


def test_answers_put_back_are_those_of_the_first_order() -> None:
    np.testing.assert_equal(
        dataclasses.asdict(back_in_order(echoed(in_another_order(WORK)))),
        dataclasses.asdict(echoed(WORK)),
    )


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

    found = count_flips("all", [one, one])

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


# --- the reference and its runtime ----------------------------------------------------------------


@pytest.mark.parametrize("name", [".", "original.gguf", "quantized.gguf"])
def test_the_reference_is_found_in_beside_or_at_the_path(
    toys: Callable[..., Path], name: str
) -> None:
    directory = toys(quantized=Toy())

    assert find_reference(directory / name, None).path.name == "original.gguf"


def test_a_named_reference_is_taken(toys: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    named = write_toy(tmp_path / "elsewhere" / "mine.gguf", Toy(scheme="F32"))

    assert find_reference(toys(quantized=Toy()), named).id == "mine"


def test_a_directory_named_as_the_reference_is_refused(toys: Callable[..., Path]) -> None:
    directory = toys(quantized=Toy())

    with pytest.raises(UsageError, match=r"reference: .*: got 2 artifacts; expected one reference"):
        find_reference(directory, directory)


def test_the_runtime_is_that_in_which_the_gate_serves_the_reference(
    toys: Callable[..., Path],
) -> None:
    [reference] = discover([toys() / "original.gguf"])
    by_name = Thresholds(runtime=RuntimeSettings(name="fake"))
    by_reference = Thresholds(runtime=RuntimeSettings(name="llama_cpp", reference="fake"))

    assert choose_runtime(reference, Thresholds(), None) == "llama_cpp"
    assert choose_runtime(reference, by_name, None) == "fake"
    assert choose_runtime(reference, by_reference, None) == "fake"
    assert choose_runtime(reference, by_reference, "llama_cpp") == "llama_cpp"


def test_both_runs_are_served_as_the_reference_is() -> None:
    options = {"url": "http://a/v1", "reference_url": "http://b/v1", "timeout_s": 9}
    thresholds = Thresholds(
        runtime=RuntimeSettings(reference="fake"),
        runtimes={"openai_server": RuntimeOptions(options=options)},
    )

    changed = as_the_reference_is(thresholds, "openai_server")

    assert (changed.runtime.name, changed.runtime.reference) == ("openai_server", None)
    assert changed.runtimes["openai_server"].options == {**options, "url": "http://b/v1"}


def test_the_artifacts_server_is_not_taken_for_the_references() -> None:
    alone = {"openai_server": RuntimeOptions(options={"url": "http://a/v1"})}

    with pytest.raises(UsageError, match="expected reference_url beside it"):
        as_the_reference_is(Thresholds(runtimes=alone), "openai_server")
