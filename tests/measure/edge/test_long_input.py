"""Long prompts hold what they say, where their marks say it, and as long as they may be."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.measure.edge.long_input import LongInput
from qgate.measure.prompts import read_texts
from qgate.measure.work import Mark, Outcome, Pair, Speaker, Work, perform
from qgate.runtimes.host import Host, HostSettings
from qgate.thresholds import shipped_path
from tests.measure.outcomes import make_outcome, pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Speak = Callable[[int], Speaker]
FILLERS = read_texts(shipped_path().parent / "prompts" / "fillers.jsonl")
CONTEXTS = [800, 1024, 1537, 4096]
PROMPTS = 8
FACTS = 4


def text_of(ids: np.ndarray) -> str:
    return bytes(ids.tolist()).decode()


def plan(speak: Speak, context: int, fillers: tuple[str, ...] = FILLERS) -> Work:
    return LongInput(fillers=fillers, most_tokens=10**6).work(speak(context))


def lengths_of(context: int) -> list[int]:
    return [int(context * share) for share in (0.25, 0.5, 0.75, 1.0)]


@pytest.fixture(scope="module", params=CONTEXTS)
def planned(request: pytest.FixtureRequest, speak: Callable[[int], Speaker]) -> tuple[int, Work]:
    context: int = request.param
    return context, plan(speak, context)


Planned = tuple[int, Work]


def test_prompts_come_in_four_lengths_and_fill_them(planned: Planned) -> None:
    context, work = planned
    shortest = min(len(filler.encode()) for filler in FILLERS) + 1

    sizes = [len(span.ids) for span in work.spans]

    assert len(sizes) == 4 * PROMPTS
    for at, length in enumerate(lengths_of(context)):
        for size in sizes[at * PROMPTS : (at + 1) * PROMPTS]:
            assert length - shortest < size <= length
    assert all(span.first == 0 for span in work.spans)
    assert work.batches == ()


def test_every_fact_is_told_once_and_asked_at_the_end(planned: Planned) -> None:
    _, work = planned

    for span in work.spans:
        text = text_of(span.ids)
        assert text.startswith("\x01")
        told = re.findall(r"^\x01?Note: the (\w+) has (\d\d)\.$", text, re.MULTILINE)
        asked = re.findall(r"^Recall: the (\w+) has (\d\d)$", text, re.MULTILINE)
        assert told == asked
        assert len(dict(told)) == FACTS
        lines = text.splitlines()
        assert all("Note: " in line for line in lines[:FACTS])
        assert all(line.startswith("Recall: ") for line in lines[-FACTS:])


def marks_of(work: Work, beginning: str) -> list[Mark]:
    return [mark for mark in work.marks if mark.member.startswith(beginning)]


def test_marks_of_facts_are_the_numbers_and_nothing_else(planned: Planned) -> None:
    context, work = planned
    marks = marks_of(work, "facts")

    assert len(marks) == 4 * PROMPTS * FACTS
    for number, span in enumerate(work.spans):
        own = [mark for mark in marks if mark.span == number]
        recalled = re.findall(r"^Recall: the \w+ has( \d\d)$", text_of(span.ids), re.MULTILINE)
        assert [text_of(span.ids[mark.start : mark.stop]) for mark in own] == recalled
        length = lengths_of(context)[number // PROMPTS]
        assert {mark.member for mark in own} == {f"facts about {length} tokens back"}


def test_facts_lie_about_as_far_back_as_their_member_says(planned: Planned) -> None:
    context, work = planned
    overhead = 4 * len("Recall: the bear has 37\n") + max(map(len, FILLERS))

    for mark in marks_of(work, "facts"):
        text = text_of(work.spans[mark.span].ids)
        number = text_of(work.spans[mark.span].ids[mark.start : mark.stop])
        length = lengths_of(context)[mark.span // PROMPTS]
        back = mark.start - text.index(f"{number}.")
        assert length - overhead - 4 * 24 < back < length


def test_marks_of_text_are_the_fillers_cut_at_the_lengths(planned: Planned) -> None:
    context, work = planned
    whole = {f"{filler}\n" for filler in FILLERS}

    for number, span in enumerate(work.spans):
        own = [mark for mark in marks_of(work, "text") if mark.span == number]
        pieces = [text_of_bytes(span.ids[mark.start : mark.stop]) for mark in own]
        between = re.split(rb"(?m)^Recall: ", b"".join(pieces))
        assert len(between) == 1
        assert all(one.stop == other.start for one, other in itertools.pairwise(own))
        assert set(re.split(r"(?<=\n)", b"".join(pieces).decode())) - {""} <= {
            line for text in whole for line in re.split(r"(?<=\n)", text)
        }
        before, after = (
            text_of_bytes(span.ids[: own[0].start]),
            text_of_bytes(span.ids[own[-1].stop :]),
        )
        assert before.count(b"Note: ") == FACTS
        assert after.startswith(b"Recall: ")
        for mark in own:
            low, high = map(int, re.findall(r"\d+", mark.member))
            assert (low, high) in list(itertools.pairwise([0, *lengths_of(context)]))
            assert low <= mark.start < mark.stop <= high


def text_of_bytes(ids: np.ndarray) -> bytes:
    return bytes(ids.tolist())


def test_prompts_differ_in_their_facts_and_fillers(planned: Planned) -> None:
    _, work = planned

    assert len({span.ids.tobytes() for span in work.spans}) == 4 * PROMPTS


def test_the_same_context_is_the_same_work(speak: Speak) -> None:
    one, other = plan(speak, 1024), plan(speak, 1024)

    assert one.digest() == other.digest()
    assert one.marks == other.marks
    assert plan(speak, 1028).digest() != one.digest()


def test_inputs_are_no_longer_than_asked_for(speak: Speak) -> None:
    short = LongInput(fillers=FILLERS, most_tokens=1024).work(speak(4096))

    assert short.digest() == plan(speak, 1024).digest()


def test_few_fillers_are_repeated(speak: Speak) -> None:
    work = plan(speak, 1024, ("Anna went to the park.", "So Ida went to bed."))

    assert [
        len(span.ids) > length - 24
        for span, length in zip(work.spans[::PROMPTS], lengths_of(1024), strict=True)
    ] == [True] * 4


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (383, "the context is too short: got 383 tokens; expected at least 384"),
        (0, "the context is too short: got 0 tokens; expected at least 384"),
        (600, "the facts alone are too long: got 184 tokens; expected at most 150,"),
    ],
)
def test_a_context_that_is_too_short_is_refused(speak: Speak, context: int, line: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        plan(speak, context)

    message = str(caught.value)
    assert message.startswith("edge.long_input: ")
    assert re.sub(r"got 18\d tokens", "got 184 tokens", message)[17:].startswith(line)


# --- what is read ---------------------------------------------------------------------------------


def answered(work: Work, *, nats: Callable[[str], float], said: Callable[[int], bool]) -> Outcome:
    """A side whose likelihoods are told by member, and facts by their number."""
    nll = [np.full(len(span.ids) - 1, 9.0) for span in work.spans]
    tops = [np.zeros(len(span.ids) - 1, dtype=bool) for span in work.spans]
    rng = np.random.default_rng(0)
    for mark in work.marks:
        at = slice(mark.start - 1, mark.stop - 1)
        nll[mark.span][at] = nats(mark.member) + rng.normal(0, 0.01, mark.stop - mark.start)
    for number, mark in enumerate(marks_of(work, "facts")):
        tops[mark.span][mark.start - 1 : mark.stop - 1] = said(number)
    return make_outcome(nll=[one.tolist() for one in nll], tops=[one.tolist() for one in tops])


def test_each_member_has_its_own_ratio(planned: Planned) -> None:
    context, work = planned
    far = f"facts about {lengths_of(context)[3]} tokens back"
    reference = answered(work, nats=lambda _: 1.0, said=lambda _: True)
    artifact = answered(
        work, nats=lambda member: 1.5 if member == far else 1.0, said=lambda number: number % 2 == 0
    )

    family = LongInput(fillers=FILLERS, most_tokens=10**6).read(pair(artifact, reference, work))
    found = family.estimate("edge.long_input", 0.95, {})

    assert found.keys() == dict.fromkeys(mark.member for mark in work.marks).keys()
    for member, estimate in found.items():
        assert estimate.value == pytest.approx(np.exp(0.5) if member == far else 1.0, abs=0.01)
    details = family.details("edge.long_input")
    assert json.loads(json.dumps(details)) == details
    assert details["recall"] == {
        f"facts about {length} tokens back": {
            "facts": PROMPTS * FACTS,
            "said": PROMPTS * FACTS // 2,
            "reference_said": PROMPTS * FACTS,
        }
        for length in lengths_of(context)
    }


def test_a_fact_is_said_where_all_its_tokens_are(speak: Speak) -> None:
    work = plan(speak, 1024)
    outcome = answered(work, nats=lambda _: 1.0, said=lambda _: True)
    mark = marks_of(work, "facts")[0]
    tops = [one.copy() for one in outcome.is_top]
    tops[mark.span][mark.stop - 2] = False  # its last digit
    spoiled = dataclasses.replace(outcome, is_top=tuple(tops))

    family = LongInput(fillers=FILLERS, most_tokens=10**6).read(pair(spoiled, outcome, work))

    recall = family.details("edge.long_input")["recall"][mark.member]
    assert (recall["said"], recall["reference_said"]) == (31, 32)


# --- with real tokenizers and models --------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from qgate.demo.__main__ import model_directory
    from qgate.demo.convert import convert
    from qgate.demo.quantize import quantize

    for name in ("gguf", "safetensors", "llama_cpp"):
        pytest.importorskip(name)
    directory = tmp_path_factory.mktemp("demo")
    found = {"F16": directory / "demo-F16.gguf", "Q2_K": directory / "demo-Q2_K.gguf"}
    convert(model_directory(), found["F16"])
    quantize(found["F16"], found["Q2_K"], "Q2_K", is_pure=True)
    return found


@pytest.fixture(scope="module")
def children(models: dict[str, Path]) -> Iterator[dict[str, Host]]:
    found = {}
    for name, path in models.items():
        found[name] = Host(HostSettings(runtime="llama_cpp"))
        found[name].call("load", path=str(path), window_tokens=512, threads=None)
    yield found
    for host in found.values():
        host.close()


def test_a_byte_level_tokenizer_keeps_the_layout(children: dict[str, Host]) -> None:
    work = LongInput(fillers=FILLERS, most_tokens=4096).work(Speaker(children["F16"], 512, 0))
    marks = marks_of(work, "facts")
    [digits] = {mark.stop - mark.start for mark in marks}

    assert max(len(span.ids) for span in work.spans) <= 512
    # the same two digits have the same tokens wherever they are
    numbers = {work.spans[mark.span].ids[mark.start : mark.stop].tobytes() for mark in marks}
    assert 40 < len(numbers) <= 90
    for mark in marks:
        ids, number = work.spans[mark.span].ids, work.spans[mark.span].ids[mark.start : mark.stop]
        places = [at for at in range(len(ids)) if ids[at : at + digits].tolist() == number.tolist()]
        assert places[0] < mark.start


@pytest.mark.slow
def test_two_bits_are_seen_and_the_model_itself_is_not(children: dict[str, Host]) -> None:
    probe = LongInput(fillers=FILLERS, most_tokens=4096)
    work = probe.work(Speaker(children["F16"], 512, 0))
    reference, again = (perform(work, children["F16"], ()) for _ in range(2))
    broken = perform(work, children["Q2_K"], ())

    same = probe.read(Pair(work=work, reference=reference, artifact=again))
    damaged = probe.read(Pair(work=work, reference=reference, artifact=broken))

    assert {one.value for one in same.estimate("edge.long_input", 0.95, {}).values()} == {1.0}
    found = damaged.estimate("edge.long_input", 0.95, {})
    assert max(one.low for one in found.values()) > 1.1
    recall = damaged.details("edge.long_input")["recall"].values()
    assert sum(counts["said"] for counts in recall) < sum(
        counts["reference_said"] for counts in recall
    )
