"""Which tokens are scored: windows by llama.cpp's convention, and what belongs together in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.reference.texts import Text, cut_windows, describe, find_text
from qgate.runtimes.base import ModelFacts, Sampled, Sampling
from qgate.runtimes.messages import Tokens
from qgate.thresholds import TextSettings

if TYPE_CHECKING:
    from qgate.reference.windows import Windows

BOS = 1
FACTS = ModelFacts(
    n_vocab=300,
    width=16,
    n_params=10_000,
    context_length=4096,
    bos=BOS,
    adds_bos=True,
    first_token=BOS,
    end_tokens=(),
    weights_bytes=1,
    load_s=0.0,
)


class Bytes:
    """Stands for a host: a token a byte, or a token for each `size` bytes."""

    n_vocab = None

    def __init__(self, size: int = 1, extra: int = 0) -> None:
        self.size, self.extra, self.asked = size, extra, None

    def call(self, _: str, request: Any) -> Sampled | Tokens:
        self.asked = request
        if isinstance(request, Sampling):
            ids = np.arange(request.sequences * request.tokens, dtype=np.int32) % 300
            windows = ids.reshape(request.sequences, request.tokens)
            return Sampled(ids=windows, answers=np.zeros_like(windows))
        raw = np.frombuffer(request.encode(), dtype=np.uint8)[:: self.size]
        sizes = np.full(len(raw) + 1, self.size)
        sizes[0], sizes[1] = 0, self.size + self.extra
        ids = np.concatenate([[BOS], raw.astype(np.int32) + 3])
        return Tokens(ids=ids.astype(np.int32), piece_bytes=sizes.astype(np.int32))


def text(*documents: str) -> Text:
    return Text(name="t", digest="sha256:0", documents=documents)


def cut(given: Text, host: Any = None, facts: ModelFacts = FACTS, **settings: Any) -> Windows:
    wanted = TextSettings(**{"windows": 100, "window_tokens": 16, **settings})
    return cut_windows(given, wanted, host or Bytes(), facts)


def letters(count: int) -> str:
    return "".join(chr(97 + number % 26) for number in range(count))


def test_windows_are_cut_from_the_whole_text_and_the_tail_is_dropped() -> None:
    windows = cut(text(letters(70)))  # and one begin-of-text token before it

    whole = [BOS, *(ord(letter) + 3 for letter in letters(70))]
    assert windows.ids.shape == (4, 16)
    assert windows.ids.dtype == np.int32
    for number, row in enumerate(windows.ids.tolist()):
        assert row[0] == BOS
        assert row[1:] == whole[number * 16 + 1 : (number + 1) * 16]


@pytest.mark.parametrize("change", [{"adds_bos": False}, {"bos": None}])
def test_no_token_is_replaced_where_texts_begin_with_none(change: dict[str, Any]) -> None:
    windows = cut(text(letters(70)), facts=dataclasses.replace(FACTS, **change))

    whole = [BOS, *(ord(letter) + 3 for letter in letters(70))]
    assert windows.ids.reshape(-1).tolist() == whole[:64]


@pytest.mark.parametrize(("size", "first", "scored"), [(16, 8, 7), (17, 8, 8), (512, 256, 255)])
def test_the_second_half_of_a_window_is_scored(size: int, first: int, scored: int) -> None:
    windows = cut(text(letters(3000)), window_tokens=size, windows=1000)

    assert windows.first == first
    assert windows.clusters.shape == (3001 // size, scored)


def test_documents_of_one_text_are_joined_as_they_are() -> None:
    host = Bytes()

    cut(text("one ", "two\n", "x" * 40), host)

    assert host.asked == "one two\n" + "x" * 40


def test_fewer_windows_are_spread_evenly_over_the_text() -> None:
    whole = cut(text(letters(3200)), windows=1000).ids

    for count, wanted in ((4, [0, 50, 100, 150]), (3, [0, 66, 133]), (200, range(200))):
        windows = cut(text(letters(3200)), windows=count)
        assert windows.ids.tolist() == whole[list(wanted)].tolist()


@pytest.mark.parametrize(("size", "extra"), [(1, 0), (1, 1), (4, 0), (4, 1)])
def test_ten_documents_are_the_clusters(size: int, extra: int) -> None:
    documents = [chr(97 + number) * (96 + 8 * number) for number in range(12)]

    windows = cut(text(*documents), Bytes(size, extra))

    assert windows.clustered_by == "document"
    targets = windows.ids[:, windows.first + 1 :]
    right = windows.clusters == targets - 3 - 97
    assert right.mean() > (0.99 if extra == 0 else 0.9)
    if size == 1:
        assert right.all()
    assert set(windows.clusters.reshape(-1).tolist()) == set(range(12))


def test_fewer_than_ten_documents_leave_the_window_as_the_cluster() -> None:
    windows = cut(text(*("x" * 80 for _ in range(9))))

    assert windows.clustered_by == "window"
    assert windows.clusters.tolist() == [[number] * 7 for number in range(45)]


def test_documents_keep_their_numbers_when_windows_are_left_out() -> None:
    windows = cut(text(*(chr(97 + number) * 160 for number in range(20))), windows=10)

    assert windows.clusters[:, 0].tolist() == list(range(0, 20, 2))


def test_letters_of_several_bytes_do_not_move_documents() -> None:
    documents = ["世" * 40, *(chr(98 + number) * 120 for number in range(10))]

    windows = cut(text(*documents))

    targets = windows.ids[:, windows.first + 1 :] - 3
    assert (windows.clusters == np.where(targets > 127, 0, targets - 97)).all()


def test_generated_text_is_asked_of_the_model_with_its_seed() -> None:
    host = Bytes()
    generated = find_text(TextSettings(source="generated", seed=7), Path())

    windows = cut(generated, host, windows=5, seed=7)

    assert host.asked == Sampling(sequences=5, tokens=16, seed=7)
    assert windows.ids.shape == (5, 16)
    assert windows.clustered_by == "window"
    assert windows.clusters.tolist() == [[number] * 7 for number in range(5)]


def test_a_window_is_never_longer_than_the_context() -> None:
    short = dataclasses.replace(FACTS, context_length=8)

    assert cut(text(letters(70)), facts=short, window_tokens=512).ids.shape == (8, 8)


@pytest.mark.parametrize("length", [0, 1, 15, 30])
def test_a_text_of_less_than_two_windows_is_refused(length: int) -> None:
    with pytest.raises(MeasurementError) as caught:
        cut(text(letters(length)), host=Bytes() if length else Nothing())

    assert str(caught.value) == (
        f"text: too short: got {length + 1} tokens; expected at least 32 (two windows)."
        " Name a longer text, or set text.window_tokens lower"
    )


class Nothing:
    """A host whose tokenizer finds a begin-of-text token only."""

    n_vocab = None

    def call(self, *_: object) -> Tokens:
        return Tokens(ids=np.array([BOS], dtype=np.int32), piece_bytes=np.zeros(1, np.int32))


def test_the_report_says_what_was_scored() -> None:
    given = text(*("x" * 100 for _ in range(12)))

    assert describe(given, cut(given)) == {
        "name": "t",
        "digest": "sha256:0",
        "windows": 75,
        "window_tokens": 16,
        "scored_tokens": 75 * 7,
        "clusters": 12,
        "clustered_by": "document",
    }
