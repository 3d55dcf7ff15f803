"""A piece of work is named by what is asked, and by nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Work
from tests.runtimes.small_requests import PROMPTS, SPANS, WORK, ids


def with_span(number: int, **changes: Any) -> Work:
    spans = list(SPANS)
    spans[number] = dataclasses.replace(spans[number], **changes)
    return dataclasses.replace(WORK, spans=tuple(spans))


def with_prompt(number: int, **changes: Any) -> Work:
    prompts = list(PROMPTS)
    prompts[number] = dataclasses.replace(prompts[number], **changes)
    return dataclasses.replace(WORK, batches=(Batch(prompts=tuple(prompts)), WORK.batches[1]))


OTHERS = {
    "a token of a span": with_span(0, ids=ids(1, 5, 9, 2, 61)),
    "where a span begins to count": with_span(2, first=11),
    "a token more in a span": with_span(1, ids=ids(1, 2, 3)),
    "a span less": dataclasses.replace(WORK, spans=SPANS[:-1]),
    "the order of the spans": dataclasses.replace(WORK, spans=SPANS[::-1]),
    "a token of a prompt": with_prompt(0, ids=ids(1, 5, 8)),
    "the length of an answer": with_prompt(2, max_tokens=10),
    "where an answer may stop": with_prompt(2, stops=("\n",)),
    "two stops in place of one": with_prompt(2, stops=("\n", "x")),
    "the order of stops": with_prompt(2, stops=("x", "\n")),
    "one stop that looks like two": with_prompt(2, stops=('\n", "x',)),
    "a prompt less": dataclasses.replace(
        WORK, batches=(Batch(prompts=PROMPTS[:2]), WORK.batches[1])
    ),
    "the order of the prompts": dataclasses.replace(
        WORK, batches=(Batch(prompts=PROMPTS[::-1]), WORK.batches[1])
    ),
    "how many side by side": dataclasses.replace(
        WORK, batches=(Batch(prompts=PROMPTS, batch_size=8), WORK.batches[1])
    ),
    "the order of the batches": dataclasses.replace(WORK, batches=WORK.batches[::-1]),
    "a batch less": dataclasses.replace(WORK, batches=WORK.batches[:1]),
    "two batches in one": dataclasses.replace(
        WORK, batches=(Batch(prompts=PROMPTS + PROMPTS[:2]),)
    ),
    "nothing": Work(),
}


def test_whatever_is_asked_has_a_digest_of_its_own() -> None:
    digests = {name: other.digest() for name, other in OTHERS.items()}

    assert len({WORK.digest(), *digests.values()}) == len(OTHERS) + 1
    assert all(digest.startswith("sha256:") for digest in digests.values())


def test_the_digest_is_of_contents() -> None:
    copied = [
        dataclasses.replace(span, ids=span.ids.astype(np.int64)[::-1][::-1]) for span in SPANS
    ]

    assert dataclasses.replace(WORK, spans=tuple(copied)).digest() == WORK.digest()


def test_how_answers_are_read_is_not_what_is_asked() -> None:
    assert dataclasses.replace(WORK, ranges=()).digest() == WORK.digest()


def test_what_it_is_called_is_not_what_is_asked() -> None:
    assert with_span(0, name="item a").digest() == WORK.digest()
    assert with_prompt(0, name="item a").digest() == WORK.digest()


def test_work_without_stops_is_named_as_it_was_before_there_were_any() -> None:
    """Or whatever the reference was asked so far would be asked again."""
    assert WORK.digest() == (
        "sha256:fb1c309eb7014b6e8751774ab44ceaf896610ef1f9acad0b48e86be6e2c25e6c"
    )
