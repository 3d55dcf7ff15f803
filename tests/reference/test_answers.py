"""The reference answers a piece of work once; its answers are read as they were or asked again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.records import RuntimeFacts
from qgate.reference.answers import OutcomeStore
from qgate.reference.entries import read_entry
from qgate.reference.signing import find_key
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Outcome, ScoredRange, Work, perform
from tests.support.children import load
from tests.support.outcomes import make_answers, make_outcome, written
from tests.support.references import entries

Toys = Callable[..., Path]
RUNTIME = RuntimeFacts(name="fake", version="1", device="cpu", build="numpy")
IDS = np.array([1, 5, 9, 40, 3], dtype=np.int32)
WORK = Work(
    spans=(Span(ids=IDS, first=1),),
    batches=(Batch(prompts=(Prompt(ids=IDS, max_tokens=4), Prompt(ids=IDS[:2], max_tokens=6))),),
)
OUTCOME = make_outcome(
    make_answers("ab", "größer 🙂"), nll=[[0.5, np.pi, 2.0]], tops=[[True, False, True]]
)


class Reference:
    """Answers, and counts how often it was asked."""

    def __init__(self, outcome: Outcome = OUTCOME) -> None:
        self.outcome, self.asked = outcome, 0

    def __call__(self) -> Outcome:
        self.asked += 1
        return self.outcome


def get(
    store: Path,
    reference: Callable[[], Outcome],
    work: Work = WORK,
    digest: str = "sha256:1",
    runtime: RuntimeFacts = RUNTIME,
    loaded: dict[str, Any] | None = None,
) -> Outcome:
    return OutcomeStore(store).get_or_perform(work, digest, runtime, reference, loaded)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_the_second_call_asks_nothing(store: Path) -> None:
    reference = Reference()

    first, second = get(store, reference), get(store, reference)

    assert reference.asked == 1
    assert written(first) == written(second) == written(OUTCOME)
    assert len(entries(store)) == 1


OTHERS: dict[str, dict[str, Any]] = {
    "another span": {"work": dataclasses.replace(WORK, spans=(Span(ids=IDS, first=2),))},
    "no batch": {"work": dataclasses.replace(WORK, batches=())},
    "another reference": {"digest": "sha256:2"},
    "another runtime": {"runtime": dataclasses.replace(RUNTIME, name="llama_cpp")},
    "another version": {"runtime": dataclasses.replace(RUNTIME, version="2")},
    "another device": {"runtime": dataclasses.replace(RUNTIME, device="gpu")},
    "another build": {"runtime": dataclasses.replace(RUNTIME, build="AVX512")},
    "other threads": {"loaded": {"threads": 3}},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_whatever_changes_answers_is_another_entry(store: Path, other: dict[str, Any]) -> None:
    reference, another = Reference(), Reference(make_outcome(make_answers("c", "d")))
    get(store, reference)

    found = get(store, another, **other)

    assert another.asked == 1
    assert written(found) == written(another.outcome)
    assert len(entries(store)) == 2
    assert written(get(store, reference)) == written(OUTCOME)
    assert reference.asked == 1


def test_how_answers_are_read_is_no_part_of_the_entry(store: Path) -> None:
    reference = Reference()
    get(store, reference)

    get(
        store,
        reference,
        dataclasses.replace(WORK, ranges=(ScoredRange(member="a", span=0, start=2, stop=3),)),
    )

    assert reference.asked == 1


@pytest.mark.parametrize("name", ["entry.json", "nll.flat.npy"])
def test_a_damaged_entry_is_asked_for_again(store: Path, name: str) -> None:
    reference = Reference()
    get(store, reference)
    [entry] = entries(store)
    path = store / entry / name
    intact = path.read_bytes()
    path.write_bytes(intact[:-1])

    found = get(store, reference)

    assert reference.asked == 2
    assert written(found) == written(OUTCOME)
    assert name == "entry.json" or path.read_bytes() == intact  # which tells when it was asked
    assert read_entry(path.parent, find_key(os.environ)) is not None
    assert entries(store) == [entry]


def test_an_entry_tells_what_it_is_of(store: Path) -> None:
    get(store, Reference())
    [entry] = entries(store)

    facts = json.loads((store / entry / "entry.json").read_text())["key_made_of"]

    assert facts["work"] == WORK.digest()
    assert facts["weights_and_tokenizer"] == "sha256:1"
    assert facts["runtime"] == dataclasses.asdict(RUNTIME)
    assert facts["kind"] == "outcome"


def test_what_a_child_answered_is_what_is_read(store: Path, toys: Toys) -> None:
    path = toys() / "original.gguf"
    with Host(HostSettings(runtime="fake", stall_s=30.0)) as host:
        load(host, path)
        answered = perform(WORK, host, (2,))

    get(store, Reference(answered))
    found = get(store, Reference())

    assert written(found) == written(answered)
