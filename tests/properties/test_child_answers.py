"""What a child answers, and what is kept of it: read, refused by one error, or asked again."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qgate.errors import MeasurementError, QGateError, RuntimeFailed
from qgate.records import RuntimeFacts
from qgate.reference.store import Store
from qgate.runtimes import verbs, wire
from qgate.runtimes.base import Buffers, ModelFacts, Prompt, Span
from qgate.runtimes.messages import (
    Answers,
    Batch,
    ContextMemory,
    Repeats,
    Scored,
    SpanScores,
    Texts,
    TimedRequest,
    Tokens,
)
from qgate.runtimes.recall import Identity, Recall
from qgate.runtimes.worker.scoring import ScoreRequest
from tests.properties.mutations import changed_bytes, changed_json, numbers, require_one_line

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DrawFn

IDS = np.array([1, 5, 7], np.int32)
NLLS = np.array([0.5, 1.25, 3.0])
SOUND: dict[str, Any] = {
    "describe": RuntimeFacts(name="llama_cpp", version="0.3.36", device="cpu", build="AVX2"),
    "load": ModelFacts(
        n_vocab=300,
        width=64,
        context_length=512,
        bos=1,
        adds_bos=True,
        first_token=1,
        end_tokens=(2,),
        load_s=0.5,
    ),
    "fill_context": ContextMemory(
        buffers=Buffers(weights_bytes=1, kv_cache_bytes=2, compute_bytes=3, context_tokens=4),
        pss_before_bytes=5,
        pss_bytes=6,
        peak_rss_bytes=7,
    ),
    "tokenize": Tokens(ids=IDS, piece_bytes=IDS),
    "encode": (IDS, IDS),
    "score": Scored(nll_nats=NLLS, kl_nats=NLLS, digests=("ab",), total_s=1.5),
    "score_spans": SpanScores(nll_nats=(NLLS,), is_top=(NLLS > 1,)),
    "answer": Answers(
        ids=(IDS,), ends=IDS[:1], texts=(" wet",), margins_nats=(NLLS.astype(np.float32),)
    ),
    "time": NLLS,
    "repeat": NLLS,
}
REQUESTS: dict[str, Any] = {
    "fill_context": 4,
    "tokenize": " wet",
    "encode": Texts(texts=("a", "b"), begins=True),
    "score": ScoreRequest(windows=np.arange(4, dtype=np.int32)[None], first=0),
    "score_spans": (Span(ids=np.arange(5, dtype=np.int32), first=1),),
    "answer": Batch(prompts=(Prompt(ids=IDS, max_tokens=8),)),
    "time": TimedRequest(ids=IDS, count=3),
    "repeat": Repeats(ids=IDS, tokens=2, times=3),
}
"""What asks for those; `describe` and `load` need none."""
VERBS: dict[str, verbs.Verb[Any, Any]] = {
    one.name: one for one in vars(verbs).values() if isinstance(one, verbs.Verb)
}


@st.composite
def arrays(draw: DrawFn) -> dict[str, Any]:
    """An array as it is sent, of which type, shape and bytes may disagree."""
    dtype = draw(st.sampled_from(("<f4", "<f8", "<i4", "<i8", "|b1", "|u1", "|O", "<U1", 1)))
    shape = draw(st.lists(st.one_of(st.integers(0, 3), numbers()), max_size=3))
    data = draw(st.one_of(st.binary(max_size=24), st.just(bytes(8)), st.just(b"\xff" * 8)))
    text = base64.b64encode(data).decode()
    return {
        "__array__": dtype,
        "shape": draw(st.one_of(st.just([len(data) // 8]), st.just(shape), numbers())),
        "base64": draw(st.sampled_from((text, text, text + "=", "%", 7))),
    }


@st.composite
def lines(draw: DrawFn) -> tuple[str, bytes]:
    """A verb, and a line that answers it, sound but for a few places."""
    verb = draw(st.sampled_from(sorted(SOUND)))
    sound = json.loads(wire.encode({"id": 1, "result": SOUND[verb]}))
    if draw(st.booleans()):
        holders = [sound["result"]] if "__array__" not in sound["result"] else [sound]
        holder = draw(st.sampled_from(holders))
        keys = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
        holder[draw(st.sampled_from(keys))] = draw(arrays())
    return verb, draw(st.one_of(st.just(json.dumps(sound).encode()), changed_json(sound)))


@given(asked=lines())
def test_an_answer_is_what_was_asked_for_or_a_failure_of_the_runtime(
    asked: tuple[str, bytes],
) -> None:
    verb, line = asked
    host: Any = SimpleNamespace(call=lambda *_: wire.decode(line).get("result"), n_vocab=300)
    try:
        found = VERBS[verb].ask(host, REQUESTS.get(verb))
    except (RuntimeFailed, MeasurementError) as error:
        require_one_line(error)
    else:
        kind = VERBS[verb].answer
        assert not isinstance(kind, type) or isinstance(found, kind)


@given(raw=changed_bytes(wire.encode({"id": 1, "result": SOUND["score"]})))
def test_the_bytes_of_a_line_may_be_anything(raw: bytes) -> None:
    try:
        found = wire.decode(raw)
    except RuntimeFailed as error:
        require_one_line(error)
    else:
        assert isinstance(found, dict)


NAME = "0123456789abcdef" * 2


@st.composite
def kept_files(draw: DrawFn) -> tuple[str, bytes]:
    """A file of an entry, and what somebody made of it."""
    entry = {"digest": "ab" * 32, "arrays": {"answer.json": "cd" * 32}, "n": 3, "measured_at": ""}
    name = draw(st.sampled_from(("entry.json", "answer.json")))
    return name, draw(st.one_of(changed_json(entry), st.binary(max_size=64)))


@given(changed=kept_files(), share=st.integers(0, 9))
def test_an_entry_that_was_changed_is_none(
    place: Path, changed: tuple[str, bytes], share: int
) -> None:
    store = Store(place / "store")

    def save(directory: Path) -> dict[str, Any]:
        (directory / "answer.json").write_bytes(b'{"answer": 1}')
        return {"n": 3}

    store.keep(NAME, save)
    whole = store.find(NAME)
    assert whole is not None
    assert whole.facts["n"] == 3
    name, raw = changed
    path = whole.place / name
    sound = path.read_bytes()
    at = len(sound) * share // 9
    path.write_bytes(raw if share == 0 else sound[:at] + raw[:8] + sound[at + 8 :])

    found = store.find(NAME)

    assert found is None or (found == whole and path.read_bytes() == sound)
    store.close()
    path.write_bytes(sound)


@given(asked=lines(), bits=st.binary(min_size=4, max_size=4))
def test_what_is_recalled_is_what_was_answered(
    place: Path, asked: tuple[str, bytes], bits: bytes
) -> None:
    verb, line = asked
    if verb not in ("encode", "score", "score_spans", "answer"):
        verb = "score"
    try:
        given_answer = wire.decode(line).get("result")
    except RuntimeFailed:
        return
    identity = Identity(
        digest=lambda: f"{bits.hex()}{line.hex()}", require_unchanged=lambda: None, loaded=dict
    )
    n_asked = []

    def ask() -> Any:
        n_asked.append(1)
        return given_answer

    store = Store(place / "recalled")
    try:
        first = Recall(store, identity).answer(SOUND["describe"], verb, {"asked": 1}, ask)
        again = Recall(store, identity).answer(SOUND["describe"], verb, {"asked": 1}, ask)
    except QGateError as error:
        require_one_line(error)
    else:
        assert _sent(again) == _sent(first)
    finally:
        store.close()


def _sent(answer: Any) -> str:
    return repr(json.loads(wire.encode({"answer": answer})))
