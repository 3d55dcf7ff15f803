"""The adapter for a running server, on one that does what vLLM does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.base import Answer, Prompt, Sampling
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import Batch
from qgate.runtimes.openai_server.adapter import OpenAIServer
from qgate.runtimes.verbs import ANSWER, DESCRIBE, FILL_CONTEXT, SAMPLE
from qgate.runtimes.worker.token_timing import time_request
from tests.runtimes.openai_server.faulty_server import (
    BOS,
    CONTEXT,
    END,
    FIRST,
    LETTERS,
    VOCABULARY,
    Planted,
    ids_of,
    load,
    prompt,
    serving,
)
from tests.support.children import load as load_in
from tests.support.children import score, score_whole

if TYPE_CHECKING:
    from pathlib import Path


def nobody(*_: object) -> None:
    pass


def test_what_serves_is_known_once_it_is_loaded(toy: Planted, model: Path) -> None:
    before = OpenAIServer().describe()
    runtime, facts = load(toy, model)
    after = runtime.describe()

    assert (before.name, before.version, before.device) == ("openai_server", "unknown", "server")
    assert (after.name, after.version, after.device) == ("openai_server", "vllm 9.8.7", "server")
    assert after.build == "model toy; prompts as token ids; answers as token ids"
    assert (facts.n_vocab, facts.context_length, facts.bos) == (VOCABULARY, CONTEXT, BOS)
    assert (facts.first_token, facts.end_tokens, facts.adds_bos) == (BOS, (END,), True)
    assert (facts.scoring, facts.weights_bytes) == ("none", None)


def test_answers_are_exactly_those_of_the_server_in_the_order_of_the_prompts(
    toy: Planted, model: Path
) -> None:
    runtime, _ = load(toy, model)
    told: list[tuple[str, int, int]] = []
    lengths = (3, 20, 1, 8, 9)
    prompts = [prompt("x" * size, size) for size in lengths]

    answers = runtime.answer(prompts, 2, lambda *progress: told.append(progress))

    assert [answer.ids.tolist() for answer in answers] == [
        ids_of(LETTERS[:size]) for size in lengths
    ]
    assert [answer.end for answer in answers] == [None, END, None, None, END]
    assert [answer.margins_nats.tolist() for answer in answers] == [
        [0.25] * size for size in (3, 9, 1, 8, 9)
    ]
    assert [runtime.decode(answer.ids) for answer in answers] == [
        LETTERS[:size] for size in lengths
    ]
    assert told == [("answering", done, 5) for done in range(1, 6)]


def test_of_an_answer_that_stops_the_tokens_of_its_text_are_kept(toy: Planted, model: Path) -> None:
    runtime, _ = load(toy, model)
    whole = prompt("x", 20)
    stops = [("d",), ("zz", "d"), ("z",), ("gh",)]

    asked = [dataclasses.replace(whole, stops=one) for one in stops]
    answers = runtime.answer(asked, 2, nobody)

    assert [runtime.decode(one.ids) for one in answers] == ["abcd", "abcde", LETTERS, LETTERS]
    assert [one.ids.tolist() for one in answers] == [
        ids_of(text) for text in ("abcd", "abcde", LETTERS, LETTERS)
    ]
    assert [one.end for one in answers] == [None, None, END, None]
    assert [len(one.margins_nats) for one in answers] == [4, 5, 9, 8]
    # the server is asked for the same as ever
    assert not [body for path, body in toy.asked if "stop" in body]


def test_answers_that_begin_with_the_same_tokens_of_the_server_stay_apart(
    toy: Planted, model: Path
) -> None:
    """Its tokens need not be those of the text: as many of them may stand for other words."""
    runtime, _ = load(toy, model)
    given = {text: runtime._kept(said(ids), text, ("d",)) for text, ids in NOT_OF_THE_TEXT.items()}

    assert {text: runtime.decode(one.ids) for text, one in given.items()} == {
        text: text for text in NOT_OF_THE_TEXT
    }
    assert [one.ids.tolist() for one in given.values()] == [[7, 8, 9], [7, 8, 9, 10]]


NOT_OF_THE_TEXT = {"abd": [7, 8, 9, 11], "xyd": [7, 8, 9, 10]}


def said(ids: list[int]) -> Answer:
    margins_nats = np.ones(len(ids), dtype=np.float32)
    return Answer(ids=np.array(ids, dtype=np.int32), end=None, margins_nats=margins_nats)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_so_many_are_asked_at_a_time(toy: Planted, model: Path, batch_size: int) -> None:
    toy.gap_s = 0.05
    runtime, _ = load(toy, model)

    runtime.answer([prompt("x", 4) for _ in range(8)], batch_size, nobody)

    assert toy.most_at_once == batch_size


def test_a_request_is_greedy_whatever_the_servers_defaults_are(toy: Planted, model: Path) -> None:
    runtime, _ = load(toy, model)
    toy.asked.clear()

    runtime.answer([prompt("ab", 4)], 1, nobody)

    ((path, body),) = toy.asked
    assert path == "/v1/completions"
    assert (body["prompt"], body["max_tokens"]) == ([BOS, *ids_of("ab")], 4)
    assert (body["temperature"], body["top_k"], body["top_p"], body["min_p"]) == (0.0, 1, 1.0, 0.0)
    penalties = [body[f"{kind}_penalty"] for kind in ("repetition", "presence", "frequency")]
    assert penalties == [1.0, 0.0, 0.0]


def test_a_text_is_tokenized_by_the_server(toy: Planted, model: Path) -> None:
    runtime, _ = load(toy, model)

    assert runtime.encode("hé", begins=True).tolist() == [BOS, *ids_of("hé")]
    assert runtime.encode("hé", begins=False).tolist() == ids_of("hé")
    assert runtime.encode("hé", begins=True).dtype == np.int32
    assert runtime.decode(np.array([BOS, *ids_of("hé"), END])) == "hé"


def test_each_token_of_a_stream_is_timed_when_it_comes(toy: Planted, model: Path) -> None:
    toy.gap_s = 0.02
    runtime, _ = load(toy, model)
    ids = np.array([BOS, *ids_of("story")], dtype=np.int32)

    at_s = time_request(runtime, ids, 10)

    assert at_s.shape == (10,)
    assert 0.02 < at_s[0] < 0.2
    assert np.median(np.diff(at_s)) == pytest.approx(0.02, abs=0.015)
    assert list(runtime.stream(ids, 10)) == ids_of((LETTERS * 2)[:10])


def test_no_cached_prefix_helps_a_stream(toy: Planted, model: Path) -> None:
    runtime, _ = load(toy, model)
    ids = np.array([BOS, *ids_of("story")], dtype=np.int32)
    toy.asked.clear()

    for _ in range(3):
        list(runtime.stream(ids, 2))

    assert len({body["cache_salt"] for _, body in toy.asked}) == 3


def test_a_stream_without_ids_is_timed_where_every_event_has_one_token(model: Path) -> None:
    with serving(Planted(fault="no ids")) as toy:
        runtime, _ = load(toy, model)
        assert list(runtime.stream(np.array([BOS, FIRST]), 6)) == [-1] * 6


def test_an_older_vllm_tells_its_ids_by_their_names(model: Path) -> None:
    with serving(Planted(fault="old")) as toy:
        runtime, _ = load(toy, model)
        (answer,) = runtime.answer([prompt("x", 20)], 1, nobody)
    assert (answer.ids.tolist(), answer.end) == (ids_of(LETTERS), END)


REFUSED = "runtime 'openai_server' gives no log-probabilities of a prompt; name a runtime"


def test_through_its_child_it_answers_and_refuses_to_score(toy: Planted, model: Path) -> None:
    with Host(HostSettings(runtime="openai_server")) as host:
        load_in(host, model, options={"url": toy.url})
        assert DESCRIBE.ask(host, None).version == "vllm 9.8.7"
        ids = np.array([BOS, FIRST], np.int32)
        given = ANSWER.ask(host, Batch(prompts=(Prompt(ids=ids, max_tokens=20),)))
        assert (given.texts, given.ends.tolist()) == ((LETTERS,), [END])
        with pytest.raises(MeasurementError, match=REFUSED):
            score_whole(host, [ids])
        with pytest.raises(MeasurementError, match=REFUSED):
            score(host, np.zeros((1, 8), np.int32))
        with pytest.raises(MeasurementError, match=REFUSED):
            SAMPLE.ask(host, Sampling(sequences=1, tokens=4, seed=0))
        with pytest.raises(MeasurementError, match="does not report what it allocates"):
            FILL_CONTEXT.ask(host, 8)
