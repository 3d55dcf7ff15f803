"""Requests go out in turns, and one bad one voids them all."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from qgate.errors import MeasurementError, RuntimeFailed
from qgate.measure.latency.interleaved import FIRST_ORDINARY_TOKEN, fit
from qgate.measure.latency.rows import LatencySamples, measure_latency, pair_ends
from qgate.runtimes.base import ModelFacts
from qgate.thresholds import LatencySettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.runtimes.host import Host
    from qgate.runtimes.messages import TimedRequest

SETTINGS = LatencySettings(prompt_tokens=16, output_tokens=8, pairs=6, warmup=2)
WHOLE = LatencySettings(prompt_tokens=128, output_tokens=32, pairs=6)
FACTS = ModelFacts(
    n_vocab=64,
    width=16,
    n_params=2048,
    context_length=256,
    bos=1,
    adds_bos=True,
    first_token=1,
    end_tokens=(2,),
    weights_bytes=8192,
    load_s=0.0,
)


@dataclass(kw_only=True)
class Desk:
    """Both children: notes who was asked what, and answers with planted times."""

    asked: list[tuple[str, np.ndarray, int]] = field(default_factory=list)
    spoil: Callable[[str, int, np.ndarray], np.ndarray] = lambda side, number, at_s: at_s
    """spoil(side, number of the request to that side, honest times) -> times"""

    def host(self, side: str) -> Host:
        return cast("Host", _Side(side=side, desk=self))

    def measure(
        self,
        settings: LatencySettings = SETTINGS,
        is_decided: Callable[[LatencySamples], bool] | None = None,
        **facts: Any,
    ) -> LatencySamples:
        return measure_latency(
            self.host("artifact"),
            self.host("reference"),
            settings,
            dataclasses.replace(FACTS, **facts),
            is_decided,
        )


@dataclass(kw_only=True)
class _Side:
    n_vocab = None
    side: str
    desk: Desk

    def call(self, verb: str, request: TimedRequest) -> Any:
        assert verb == "time"
        count = request.count
        number = sum(side == self.side for side, *_ in self.desk.asked)
        self.desk.asked.append((self.side, request.ids.copy(), count))
        honest = 0.1 + 0.01 * np.arange(count, dtype=float)
        return self.desk.spoil(self.side, number, honest)


def test_requests_go_out_in_abba_order() -> None:
    desk = Desk()
    desk.measure()

    order = "".join(side[0] for side, *_ in desk.asked)
    assert order == "raar" * 4  # two pairs to warm up, six that count


def test_a_pair_is_the_same_prompt_and_every_pair_another() -> None:
    desk = Desk()
    desk.measure()

    prompts = {
        side: [ids for at, ids, _ in desk.asked if at == side] for side in ("artifact", "reference")
    }
    for own, theirs in zip(prompts["artifact"], prompts["reference"], strict=True):
        assert own.tobytes() == theirs.tobytes()
        assert (own.dtype, own.shape) == (np.int32, (16,))
        assert FIRST_ORDINARY_TOKEN <= own.min() <= own.max() < FACTS.n_vocab
    first_tokens = [ids[:4].tobytes() for ids in prompts["artifact"]]
    assert len(set(first_tokens)) == len(first_tokens) == 8
    assert {count for *_, count in desk.asked} == {8}


def test_the_same_prompts_are_sent_in_every_run() -> None:
    desks = [Desk(), Desk()]
    sent = []
    for desk in desks:
        desk.measure()
        sent.append([ids.tobytes() for _, ids, _ in desk.asked])

    assert sent[0] == sent[1]


def test_what_warms_up_does_not_count() -> None:
    desk = Desk(spoil=lambda side, number, at_s: at_s * 50 if number < 2 else at_s)

    found = desk.measure()

    assert found.artifact.ttft_ms == pytest.approx([100.0] * 6)
    assert len(desk.asked) == 2 * (2 + 6)


def test_a_machine_that_slows_down_does_not_read_as_damage() -> None:
    desk = Desk()

    def drift(side: str, number: int, at_s: np.ndarray) -> np.ndarray:
        return at_s * (1 + 0.02 * len(desk.asked))  # twice as slow after 50 requests

    desk.spoil = drift
    found = desk.measure(SETTINGS.model_copy(update={"pairs": 24}))

    for check in ("latency.ttft", "latency.itl", "latency.tps"):
        estimate = found.estimate(check, 0.95, {})
        assert estimate.low < 1 < estimate.high
        assert abs(estimate.value - 1) < 0.005
    in_blocks = np.median(found.artifact.ttft_ms[12:]) / np.median(found.artifact.ttft_ms[:12])
    assert in_blocks > 1.2  # what one side after the other would have said of equals


SPOILED = {
    "a token is lost": lambda at_s: at_s[:-1],
    "a token is made up": lambda at_s: np.append(at_s, at_s[-1] + 0.01),
    "no token came": lambda at_s: at_s[:0],
    "a time is not a number": lambda at_s: np.where(at_s == at_s[3], np.nan, at_s),
    "a time is endless": lambda at_s: np.where(at_s == at_s[-1], np.inf, at_s),
    "the clock stood still": lambda at_s: np.where(at_s == at_s[3], at_s[2], at_s),
    "the clock went back": lambda at_s: at_s[::-1],
    "the first token took no time": lambda at_s: at_s - at_s[0],
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
@pytest.mark.parametrize("side", ["artifact", "reference"])
@pytest.mark.parametrize("number", [0, 7])  # one that warms up, and the last one
def test_one_bad_request_voids_them_all(
    spoil: Callable[[np.ndarray], np.ndarray], side: str, number: int
) -> None:
    desk = Desk(
        spoil=lambda at, n, at_s: spoil(at_s) if (at, n) == (side, number) else at_s,
    )

    with pytest.raises(MeasurementError) as caught:
        desk.measure()

    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)


def test_a_child_that_fails_is_heard_of() -> None:
    def crash(side: str, number: int, at_s: np.ndarray) -> np.ndarray:
        if (side, number) == ("reference", 4):
            raise RuntimeFailed("runtime crashed: SIGSEGV in time")
        return at_s

    with pytest.raises(RuntimeFailed, match="SIGSEGV"):
        Desk(spoil=crash).measure()


@pytest.mark.parametrize(
    ("context", "lengths"),
    [
        (256, (128, 32)),
        (160, (128, 32)),
        (159, (127, 32)),
        (44, (12, 32)),
        (30, (8, 22)),
        (16, (8, 8)),
    ],
)
def test_a_short_context_cuts_the_prompt_first(context: int, lengths: tuple[int, int]) -> None:
    found = fit(WHOLE, context)

    assert (found.prompt_tokens, found.output_tokens) == lengths
    assert sum(lengths) <= context


def test_requests_that_were_cut_say_so() -> None:
    cut = Desk().measure(WHOLE, context_length=44).details("latency.ttft")
    whole = Desk().measure(WHOLE).details("latency.ttft")

    assert (cut["prompt_tokens"], cut["output_tokens"]) == (12, 32)
    assert (cut["asked_prompt_tokens"], cut["asked_output_tokens"]) == (128, 32)
    assert "asked_prompt_tokens" not in whole


LONG = SETTINGS.model_copy(update={"pairs": 24})


@pytest.mark.parametrize(("undecided", "pairs", "look"), [(0, 12, 1), (1, 16, 2), (9, 24, 3)])
def test_pairs_end_where_every_row_is_decided(undecided: int, pairs: int, look: int) -> None:
    desk, looked = Desk(), []

    def is_decided(samples: LatencySamples) -> bool:
        looked.append(samples.looks.n)
        return len(looked) > undecided

    found = desk.measure(LONG, is_decided=is_decided)

    assert len(desk.asked) == 2 * (LONG.warmup + pairs)
    assert looked == [12, 16][: undecided + 1]
    details = found.details("latency.itl")
    assert (details["pairs"], len(details["samples"]["artifact"])) == (pairs, pairs)
    assert details["sequential"] == {"look": look, "looks": 3, "of_pairs": 24}
    assert found.estimate("latency.itl", 0.95, {}).method.endswith(f", look {look} of 3")


def test_the_pairs_of_a_shorter_run_are_the_first_of_a_longer() -> None:
    short, long = Desk(), Desk()
    short.measure(LONG, is_decided=lambda _: True)
    long.measure(LONG)
    for own, other in zip(short.asked, long.asked, strict=False):
        assert (own[0], own[2], own[1].tolist()) == (other[0], other[2], other[1].tolist())


def test_few_pairs_are_looked_at_once() -> None:
    assert pair_ends(23) == (23,)
    assert pair_ends(48) == (24, 32, 48)
    found = Desk().measure(is_decided=lambda _: pytest.fail("was looked at early"))
    assert "sequential" not in found.details("latency.itl")


@pytest.mark.parametrize("facts", [{"context_length": 15}, {"n_vocab": 9}])
def test_a_model_too_small_to_time_is_refused(facts: dict[str, int]) -> None:
    with pytest.raises(MeasurementError, match=r"^latency: \w+: got \d+ tokens; expected"):
        Desk().measure(**facts)
