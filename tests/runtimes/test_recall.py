"""Answers that are kept: what nobody can read is neither kept nor believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.records import RuntimeFacts
from qgate.reference.store import Store
from qgate.runtimes import wire
from qgate.runtimes.messages import Texts
from qgate.runtimes.recall import Identity, Recall
from tests.support.references import entries

if TYPE_CHECKING:
    from pathlib import Path

RUNTIME = RuntimeFacts(name="fake", version="1", build="", device="cpu")
ASKED = Texts(texts=("two",), begins=True)
GOOD = [np.array([1, 2], dtype=np.int32)]
BAD = {
    "a list": [1],
    "nothing": None,
    "a number": 3,
    "a text": "x",
    "an object": {"ids": "nonsense"},
}


def ask(store: Path, answer: object, verb: str = "encode") -> object:
    identity = Identity(digest=lambda: "sha256:1", require_unchanged=lambda: None, loaded=dict)
    return Recall(Store(store), identity).answer(RUNTIME, verb, ASKED, lambda: answer)


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("verb", ["encode", "score"])
def test_an_answer_that_cannot_be_read_is_given_on_and_not_kept(
    tmp_path: Path, verb: str, answer: object
) -> None:
    assert ask(tmp_path, answer, verb) == answer
    assert entries(tmp_path) == []


def test_an_entry_that_cannot_be_read_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("qgate.runtimes.recall._is_readable", lambda *_: True)
        ask(tmp_path, {"ids": "nonsense"})
    assert len(entries(tmp_path)) == 1

    assert ask(tmp_path, GOOD) == GOOD

    [name] = entries(tmp_path)
    assert b"nonsense" in (tmp_path / name / "answer.json").read_bytes()


def test_an_entry_that_no_model_can_have_answered_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("qgate.runtimes.recall._is_readable", lambda *_: True)
        ask(tmp_path, [np.array([1, -2], dtype=np.int32)])

    assert ask(tmp_path, GOOD) == GOOD


def test_an_answer_that_can_be_read_is_kept(tmp_path: Path) -> None:
    ask(tmp_path, GOOD)
    [found] = ask(tmp_path, None)  # type: ignore[misc]
    assert found.tolist() == [1, 2]
    assert wire.decode(wire.encode({"answer": GOOD})).keys() == {"answer"}
