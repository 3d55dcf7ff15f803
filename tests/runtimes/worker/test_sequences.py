"""Sequences are scored by the plain formula, every token of them, or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.errors import MeasurementError
from qgate.runtimes.base import LogitsScorer, Span
from qgate.runtimes.worker.spans import MOST_TOGETHER, packs, score_spans

if TYPE_CHECKING:
    from tests.runtimes.conftest import Served

Toys = Callable[..., Path]
Rows = Callable[[np.ndarray], Sequence[np.ndarray]]
N_VOCAB = 50


def whole(rows: np.ndarray) -> list[np.ndarray]:
    return [rows]


def in_parts(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[at : at + 7] for at in range(0, len(rows), 7)]


@dataclass
class Planted:
    """A runtime whose logits after a token are drawn from it, given out as it is told."""

    give: Rows = whole
    tokens_per_pack: int = 100
    asked: list[int] = field(default_factory=list)
    """Sequences of each call."""

    def logits_of_spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        self.asked.append(len(spans))
        rows = [logits_after(token) for span in spans for token in span.ids[span.first : -1]]
        yield from self.give(np.stack(rows))

    def score(self, spans: Sequence[Span]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        found = score_spans(cast("LogitsScorer", self), spans, lambda *_: None)
        return list(found.nll_nats), list(found.is_top)


def logits_after(token: int) -> np.ndarray:
    drawn = np.random.default_rng(int(token)).normal(0.0, 5.0, N_VOCAB)
    return drawn.astype(np.float32)


def spans_of(sizes: list[int], seed: int = 0) -> list[Span]:
    rng = np.random.default_rng(seed)
    return [
        Span(
            ids=rng.integers(0, N_VOCAB, size).astype(np.int32),
            first=int(rng.integers(0, size - 1)),
        )
        for size in sizes
    ]


SIZES = [2, 9, 30, 3, 64, 12, 150, 5]


@pytest.mark.parametrize("give", [whole, in_parts])
def test_likelihoods_are_the_plain_formula(give: Rows) -> None:
    spans = spans_of(SIZES)

    nll, tops = Planted(give=give).score(spans)

    for span, own, is_top in zip(spans, nll, tops, strict=True):
        logits = np.stack([logits_after(token) for token in span.ids[span.first : -1]])
        targets = span.ids[span.first + 1 :]
        wanted = -log_softmax(logits.astype(float), axis=1)[np.arange(len(targets)), targets]
        assert own.dtype == np.float64
        assert own == pytest.approx(wanted, abs=1e-5)
        assert is_top.dtype == np.bool_
        assert is_top.tolist() == (logits.argmax(axis=1) == targets).tolist()


def test_a_real_model_says_the_same_of_a_sequence_as_its_logits_do(served: Served) -> None:
    spans = [Span(ids=served.ids(number, 20), first=number) for number in range(5)]

    found = score_spans(served.runtime, spans, lambda *_: None)

    for span, own in zip(spans, found.nll_nats, strict=True):
        logits = served.logits(span.ids[:-1], span.first).astype(float)
        targets = span.ids[span.first + 1 :]
        wanted = -log_softmax(logits, axis=1)[np.arange(len(targets)), targets]
        # beside others llama.cpp takes other kernels, see test_contract_spans.py
        assert own == pytest.approx(wanted, abs=0.1)


def test_a_long_and_sure_row_does_not_overflow() -> None:
    sure = np.zeros((3, N_VOCAB), dtype=np.float32)
    sure[:, 7] = [1e4, -1e4, 300.0]
    spans = [Span(ids=np.array([1, 7, 7, 7], dtype=np.int32), first=0)]

    [nll], [is_top] = Planted(give=lambda _: [sure]).score(spans)

    assert nll == pytest.approx([0.0, 1e4 + np.log(N_VOCAB - 1), 0.0])
    assert is_top.tolist() == [True, False, True]


def lose_the_last(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[:-1]]


def lose_a_part(rows: np.ndarray) -> list[np.ndarray]:
    return in_parts(rows)[:-1]


def lose_all(rows: np.ndarray) -> list[np.ndarray]:
    return []


def give_one_more(rows: np.ndarray) -> list[np.ndarray]:
    return [np.concatenate([rows, rows[:1]])]


def give_twice(rows: np.ndarray) -> list[np.ndarray]:
    return [rows, rows]


LOSSES = [
    (lose_the_last, "got 28 rows of logits; expected 29"),
    (lose_a_part, "got 28 rows of logits; expected 29"),
    (lose_all, "got 0 rows of logits; expected 29"),
    (give_one_more, "got 30 rows of logits; expected 29"),
    (give_twice, "got 58 rows of logits; expected 29"),
]


@pytest.mark.parametrize(("give", "line"), LOSSES)
def test_lost_rows_are_refused(give: Rows, line: str) -> None:
    spans = [Span(ids=np.arange(30, dtype=np.int32), first=0)]

    with pytest.raises(MeasurementError) as caught:
        Planted(give=give).score(spans)

    assert str(caught.value) == f"lost samples: {line}"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 7, N_VOCAB - 1])
def test_one_number_that_is_none_is_refused(column: int, bad: float) -> None:
    def spoil(rows: np.ndarray) -> list[np.ndarray]:
        rows[13, column] = bad
        return [rows]

    spans = [Span(ids=np.arange(30, dtype=np.int32), first=0)]

    with (
        np.errstate(invalid="ignore"),
        pytest.raises(MeasurementError, match="logits are not finite while sequences are scored"),
    ):
        Planted(give=spoil).score(spans)


# --- packing --------------------------------------------------------------------------------------

ROOMS: list[tuple[list[int], int]] = [
    ([], 100),
    ([2], 100),
    ([2] * 300, 1000),
    ([100, 100, 100], 100),
    ([101, 2, 101, 2, 2], 100),
    ([99, 2, 1 + 1, 96, 50, 50, 51, 50], 100),
    (list(range(2, 60)), 128),
]


@pytest.mark.parametrize(("sizes", "room"), ROOMS, ids=str)
def test_packs_keep_the_order_and_the_room(sizes: list[int], room: int) -> None:
    spans = spans_of(sizes)

    found = list(packs(spans, room))

    assert [id(span) for pack in found for span in pack] == [id(span) for span in spans]
    for pack in found:
        assert len(pack) == 1 or sum(len(span.ids) for span in pack) <= room
        assert 1 <= len(pack) <= MOST_TOGETHER


@pytest.mark.parametrize(("sizes", "room"), ROOMS, ids=str)
def test_a_pack_ends_only_where_the_next_does_not_fit(sizes: list[int], room: int) -> None:
    found = list(packs(spans_of(sizes), room))

    for pack, following in itertools.pairwise(found):
        held = sum(len(span.ids) for span in pack)
        assert held + len(following[0].ids) > room or len(pack) == MOST_TOGETHER


def test_packs_do_not_depend_on_what_is_answered() -> None:
    spans = spans_of(SIZES)
    one, other = Planted(), Planted(give=lambda rows: [rows + 1.0])

    one.score(spans)
    other.score(spans)

    assert one.asked == other.asked
    assert sum(one.asked) == len(spans)


def test_progress_is_told_before_each_pack() -> None:
    told: list[tuple[Any, ...]] = []
    runtime = Planted()

    score_spans(cast("LogitsScorer", runtime), spans_of(SIZES), lambda *said: told.append(said))

    done = np.cumsum([0, *runtime.asked])[:-1]
    assert told == [
        ("scoring", int(before), len(SIZES), (int(before), int(before) + pack))
        for before, pack in zip(done, runtime.asked, strict=True)
    ]
