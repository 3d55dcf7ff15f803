"""What no runtime can have answered is refused in one line, whoever serves; long texts are cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate import errors
from qgate.runtimes.base import Sampling
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import Repeats, Texts, TimedRequest
from qgate.runtimes.verbs import (
    ANSWER,
    DESCRIBE,
    ENCODE,
    FILL_CONTEXT,
    REPEAT,
    SAMPLE,
    SCORE,
    SCORE_SPANS,
    TIME,
    TOKENIZE,
)
from qgate.runtimes.worker.scoring import ScoreRequest
from tests.conftest import Toy, write_toy
from tests.runtimes.conftest import start
from tests.runtimes.small_requests import WORK
from tests.support.children import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Planted = Callable[[str], str]
Ask = Callable[[Host], object]

IDS = np.arange(8, dtype=np.int32)
VOCABULARY = 64


class Lying(Host):
    """A child of whose answers one thing is changed on the way, or that has another answer."""

    def __init__(self, settings: HostSettings) -> None:
        super().__init__(settings)
        self.lie: dict[str, Any] = {}
        self.instead: Any = None

    def call(self, verb: str, request: object) -> Any:
        if self.instead is not None:
            return self.instead
        found = super().call(verb, request)
        if "" in self.lie:
            return self.lie[""](found)
        if not self.lie:
            return found
        return {**found, **{name: how(found[name]) for name, how in self.lie.items()}}


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lying]:
    path = tmp_path_factory.mktemp("models") / "toy.gguf"
    write_toy(path, Toy(scheme="F32", vocabulary=VOCABULARY))
    with Lying(HostSettings(runtime="fake", stall_s=60.0)) as host:
        load(host, path)
        yield host


def put(value: float, dtype: str | None = None) -> Callable[[Any], Any]:
    """In the place of the last number, of the last array where there are several."""

    def change(found: Any) -> Any:
        if not isinstance(found, np.ndarray):
            return [*found[:-1], change(found[-1])] if isinstance(found, list) else value
        spoiled = np.array(found, dtype=dtype)
        spoiled.reshape(-1)[-1] = value
        return spoiled

    return change


SCORING = ScoreRequest(windows=np.arange(64, dtype=np.int32).reshape(2, 32), first=16)
AGAINST = dataclasses.replace(SCORING, anchors=np.zeros(30), tops=np.zeros(30, np.int32))
BATCH = WORK.batches[0]
ASKING: dict[str, Ask] = {
    "tokenize": lambda host: TOKENIZE.ask(host, "abc"),
    "encode": lambda host: ENCODE.ask(host, Texts(texts=("abc", "de"), begins=True)),
    "sample": lambda host: SAMPLE.ask(host, Sampling(sequences=2, tokens=8, seed=0)),
    "score": lambda host: SCORE.ask(host, SCORING),
    "score_spans": lambda host: SCORE_SPANS.ask(host, WORK.spans),
    "answer": lambda host: ANSWER.ask(host, BATCH),
    "time": lambda host: TIME.ask(host, TimedRequest(ids=IDS, count=4)),
    "repeat": lambda host: REPEAT.ask(host, Repeats(ids=IDS, tokens=2, times=3)),
}
LIES: list[tuple[str, dict[str, Any], str]] = [
    ("tokenize", {"ids": put(64)}, "ids: got 64; expected token ids from 0 to 63"),
    ("tokenize", {"ids": put(1, "<f8")}, "ids: got float64 in 1 dimensions; expected token ids"),
    ("tokenize", {"piece_bytes": put(-1)}, "piece_bytes: got -1; expected bytes"),
    ("encode", {"": put(-1)}, "ids: got -1; expected token ids from 0 to 63"),
    ("sample", {"ids": put(64)}, "ids: got 64; expected token ids from 0 to 63"),
    ("score", {"nll_nats": put(np.nan)}, "nll_nats: got nan; expected nats >= 0"),
    ("score", {"nll_nats": put(np.inf)}, "nll_nats: got inf; expected nats >= 0"),
    ("score", {"nll_nats": put(-0.01)}, "nll_nats: got -0.01; expected nats >= 0"),
    ("score", {"total_s": put(-1.0)}, "total_s and decode_s: got -1; expected seconds"),
    ("score_spans", {"nll_nats": put(-0.01)}, "nll_nats: got -0.01; expected nats >= 0"),
    ("score_spans", {"is_top": put(1, "<f8")}, "is_top: got float64; expected true or false"),
    ("answer", {"ids": put(1 << 20)}, "ids: got 1.04858e+06; expected token ids from 0 to 63"),
    ("answer", {"ends": put(-2)}, "ends: got -2; expected token ids from -1 to 63"),
    ("answer", {"margins_nats": put(np.nan)}, "margins_nats: got nan; expected nats >= 0"),
    ("answer", {"margins_nats": put(-1.0)}, "margins_nats: got -1; expected nats >= 0"),
    ("time", {"": put(np.nan)}, "times: got nan; expected seconds"),
    ("time", {"": put(-1.0)}, "times: got -1; expected seconds"),
    ("repeat", {"": put(-4096.0)}, "sizes: got -4096; expected bytes"),
]


@pytest.mark.parametrize(
    ("verb", "lie", "line"), LIES, ids=[f"{verb} {line.split(';')[0]}" for verb, _, line in LIES]
)
def test_what_cannot_be_is_refused(liar: Lying, verb: str, lie: dict[str, Any], line: str) -> None:
    ASKING[verb](liar)  # as it is it can be

    liar.lie = lie
    try:
        with pytest.raises(errors.MeasurementError) as caught:
            ASKING[verb](liar)
    finally:
        liar.lie = {}

    assert str(caught.value) == f"runtime: impossible answer to {verb}: {line}"


COMPARED = {
    "nll_nats": np.ones(30),
    "kl_nats": np.zeros(30),
    "same_top": np.ones(30, dtype=bool),
    "covered_mass": np.ones(30),
}
MEMORY = {"pss_before_bytes": 1, "pss_bytes": 2, "peak_rss_bytes": 2}
BUFFERS = {"weights_bytes": 1, "kv_cache_bytes": 1, "compute_bytes": 1, "context_tokens": 8}
INSTEAD: dict[str, tuple[Ask, dict[str, Any], str]] = {
    "a divergence below zero": (
        lambda host: SCORE.ask(host, AGAINST),
        {**COMPARED, "kl_nats": np.full(30, -0.01)},
        "runtime: impossible answer to score: kl_nats: got -0.01; expected nats >= 0",
    ),
    "a divergence that is none": (
        lambda host: SCORE.ask(host, AGAINST),
        {**COMPARED, "kl_nats": np.full(30, np.nan)},
        "runtime: impossible answer to score: kl_nats: got nan; expected nats >= 0",
    ),
    "more than all mass": (
        lambda host: SCORE.ask(host, AGAINST),
        {**COMPARED, "covered_mass": np.full(30, 1.5)},
        "runtime: impossible answer to score: covered_mass: got 1.5; expected probabilities",
    ),
    "divergences of other positions": (
        lambda host: SCORE.ask(host, AGAINST),
        {**COMPARED, "kl_nats": np.zeros(29)},
        "lost samples: got 29 divergences; expected 30",
    ),
    "memory below zero": (
        lambda host: FILL_CONTEXT.ask(host, 8),
        {**MEMORY, "buffers": {**BUFFERS, "kv_cache_bytes": -1}},
        "runtime: impossible answer to fill_context: kv_cache_bytes: got -1; expected a count",
    ),
}


@pytest.mark.parametrize(("ask", "answer", "line"), INSTEAD.values(), ids=INSTEAD.keys())
def test_what_cannot_have_been_measured_is_refused(
    liar: Lying, ask: Ask, answer: dict[str, Any], line: str
) -> None:
    liar.instead = answer
    try:
        with pytest.raises(errors.MeasurementError) as caught:
            ask(liar)
    finally:
        liar.instead = None

    assert str(caught.value) == line


TALKATIVE = """
from qgate.errors import ArtifactError
from qgate.records import RuntimeFacts
class Planted:
    def describe(self):
        return RuntimeFacts(name="n", version="1\\x1b[31m", device="cpu", kernel="k" * 100_000)
    def load(self, settings):
        raise ArtifactError("no " * 100_000)
    def close(self):
        pass
"""


def test_what_a_child_is_called_and_says_is_short_and_printable(
    planted: Planted, tmp_path: Path
) -> None:
    with start(planted(TALKATIVE)) as host:
        found = DESCRIBE.ask(host, None)
        with pytest.raises(errors.ArtifactError) as caught:
            load(host, tmp_path)

    assert found.version == r"1\x1b[31m"
    assert found.kernel == "k" * 2000 + "…"
    assert str(caught.value) == ("no " * 1000)[:2000] + "…"


def test_what_a_model_wrote_is_kept_to_the_letter(liar: Lying) -> None:
    liar.lie = {"texts": lambda texts: ["two\nlines\x1b " * 500, *texts[1:]]}
    try:
        given = ANSWER.ask(liar, BATCH)
        liar.lie = {"texts": lambda texts: ["x" * 1_000_000, *texts[1:]]}
        with pytest.raises(errors.MeasurementError, match=r"texts: got 1000000 letters; expected"):
            ANSWER.ask(liar, BATCH)
    finally:
        liar.lie = {}

    assert given.texts[0] == "two\nlines\x1b " * 500
