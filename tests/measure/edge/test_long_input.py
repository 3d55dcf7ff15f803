"""Long texts fill the context, hold what they say, and their ranges lie where they say it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.long_input import LongInput
from qgate.reference.prompts import read_texts
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.requests import Outcome, Pair, ScoredRange, TokenizerClient, Work, perform
from qgate.thresholds import shipped_path
from tests.support.children import load
from tests.support.outcomes import make_outcome, pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qgate.measure.edge.long_input import LongAnswers

Speak = Callable[[int], TokenizerClient]
PROSE = read_texts(shipped_path().parent / "prompts" / "prose.jsonl")
CONTEXTS = [800, 1024, 1537, 4096]
PARTS = 4
TEXTS = {800: 32, 1024: 24, 1537: 12, 4096: 4}
"""In all parts together, by the context: as many as take the time of one of 4096 tokens."""


def facts_a_quarter(context: int) -> int:
    """Few long texts would have too few of them."""
    return 1 if context <= 1024 else 0


def text_of(ids: np.ndarray) -> str:
    # where a document is cut there may be half a character
    return bytes(ids.tolist()).decode(errors="replace")


def plan(speak: Speak, context: int) -> Work:
    return LongInput(fillers=PROSE, most_tokens=10**6).work(speak(context))


def lengths_of(context: int) -> list[int]:
    return [int(context * share) for share in (0.25, 0.5, 0.75, 1.0)]


@pytest.fixture(scope="module", params=CONTEXTS)
def planned(
    request: pytest.FixtureRequest, speak: Callable[[int], TokenizerClient]
) -> tuple[int, Work]:
    context: int = request.param
    return context, plan(speak, context)


Planned = tuple[int, Work]


def ranges_of(work: Work, beginning: str) -> list[ScoredRange]:
    return [part for part in work.ranges if part.member.startswith(beginning)]


def test_every_text_fills_the_whole_context(planned: Planned) -> None:
    context, work = planned

    assert [len(span.ids) for span in work.spans] == [context] * TEXTS[context]
    assert all(span.first == 0 for span in work.spans)
    assert work.batches == ()
    assert len({span.ids.tobytes() for span in work.spans}) == TEXTS[context]


def test_every_fact_is_told_once_and_asked_near_the_end(planned: Planned) -> None:
    context, work = planned

    for span in work.spans:
        text = text_of(span.ids)
        told = re.findall(r"Note: the (\w+) has (\d\d)\.", text)
        asked = re.findall(r"Recall: the (\w+) has (\d\d)\n", text)
        assert sorted(told) == sorted(asked)
        assert len(dict(told)) == 4 * facts_a_quarter(context)


def test_marks_of_facts_are_the_numbers_and_say_how_far_back_they_are(planned: Planned) -> None:
    context, work = planned
    ranges = ranges_of(work, "facts")

    assert len(ranges) == TEXTS[context] * 4 * facts_a_quarter(context)
    assert {part.member for part in ranges} == {
        f"facts about {length} tokens back" for length in lengths_of(context) if ranges
    }
    for part in ranges:
        text = text_of(work.spans[part.span].ids)
        number = text_of(work.spans[part.span].ids[part.start : part.stop])
        assert re.fullmatch(r" \d\d", number)
        key = re.findall(r"Recall: the (\w+) has$", text[: part.start])[-1]
        back = part.start - text.index(f"Note: the {key} has{number}.")
        [about] = map(int, re.findall(r"\d+", part.member))
        assert abs(back - about) < context / 3


def documents(work: Work, context: int, number: int, quarter: int) -> list[int]:
    """How long those of one quarter of a text are: each ends with its quarter."""
    low, high = [0, *lengths_of(context)][quarter : quarter + 2]
    member = f"text at {low}-{high} tokens"
    own = [part for part in ranges_of(work, member) if part.span == number]
    return [part.stop - part.start for part in own]


def test_marks_of_passages_are_what_came_before(planned: Planned) -> None:
    context, work = planned
    ranges = ranges_of(work, "passages about")

    assert len(ranges_of(work, "passages at first")) == len(ranges)
    found = Counter((part.span, part.member) for part in ranges)
    for number, quarter in itertools.product(range(len(work.spans)), range(4)):
        # short texts take turns; of bytes a quarter has few documents, the last one hardly any
        wanted = (number + quarter) % 2 if context <= 1024 else 5
        back = f"passages about {lengths_of(context)[3 - quarter]} tokens back"
        could = len([one for one in documents(work, context, number, quarter) if one >= 24])
        assert found.pop((number, back), 0) == min(wanted, could)
    assert not found
    for part in ranges:
        ids = work.spans[part.span].ids
        again = ids[part.start - 8 : part.stop].tobytes()
        first = ids.tobytes().index(again) // ids.itemsize
        assert first < part.start - 8
        [about] = map(int, re.findall(r"\d+", part.member))
        assert abs(part.start - first - about) < context / 2


def test_marks_of_text_are_cut_at_the_quarters_and_none_lies_behind_the_questions(
    planned: Planned,
) -> None:
    context, work = planned

    for number in range(len(work.spans)):
        own = [part for part in ranges_of(work, "text") if part.span == number]
        asked = min(part.start for part in ranges_of(work, "passages about") if part.span == number)
        assert all(one.stop <= other.start for one, other in itertools.pairwise(own))
        assert own[-1].stop <= asked - 8
        for part in own:
            low, high = map(int, re.findall(r"\d+", part.member))
            assert (low, high) in list(itertools.pairwise([0, *lengths_of(context)]))
            assert low <= part.start < part.stop <= high


class Words(TokenizerClient):
    """A tokenizer that needs a token where four bytes are, as those of language models do."""

    def _encode(self, texts: Sequence[str], *, begins: bool) -> tuple[np.ndarray, ...]:
        return tuple(ids[::4] for ids in super()._encode(texts, begins=begins))


@pytest.mark.parametrize("context", [1024, 2048, 3000, 4096])
def test_every_quarter_of_the_context_is_judged_as_text_and_as_passages(
    bytes_child: Host, context: int
) -> None:
    """Of no model's context may what asks take the room of what is asked about."""
    tokenizer = Words(bytes_child, context, 1)
    work = LongInput(fillers=PROSE, most_tokens=10**6, units=(0,)).work(tokenizer)

    lengths = lengths_of(context)
    assert {part.member for part in work.ranges if part.member.startswith(("text", "pass"))} == {
        "passages at first",
        *(f"passages about {length} tokens back" for length in lengths),
        *(f"text at {low}-{high} tokens" for low, high in itertools.pairwise([0, *lengths])),
    }


@pytest.mark.parametrize(
    ("most_tokens", "context", "parts", "is_apart"),
    [
        (1024, 4096, 1, False),  # quick: 2 passages a quarter
        (1024, 4096, 4, True),
        (2000, 4096, 1, False),
        (2400, 4096, 1, True),
        (4096, 1024, 1, False),  # standard, GPT-2: 6 texts, a passage in every second one
        (4096, 1024, 4, True),
    ],
)
def test_short_or_few_texts_are_judged_without_telling_quarters_apart(
    bytes_child: Host, most_tokens: int, context: int, parts: int, *, is_apart: bool
) -> None:
    """Two or three passages of a quarter have an interval in which everything lies."""
    tokenizer = Words(bytes_child, context, 1)
    probe = LongInput(fillers=PROSE, most_tokens=most_tokens, most_parts=parts)
    work = probe.take(range(parts)).work(tokenizer)

    clusters = Counter(part.member for part in work.ranges)
    passages = {name: n for name, n in clusters.items() if name.startswith("passages")}
    assert passages.pop("passages at first") == sum(passages.values())
    assert ("text" in clusters, "passages" in clusters) == (not is_apart, not is_apart)
    assert max(passages.values()) >= (4 if is_apart else 6)


def test_the_last_tokens_reach_the_limit_of_the_context(planned: Planned) -> None:
    context, work = planned

    for number in range(len(work.spans)):
        own = [part for part in ranges_of(work, "the last tokens") if part.span == number]
        assert own[-1].stop == context
        assert sum(part.stop - part.start for part in own) >= max(32, context // 32)
        assert max(part.stop - part.start for part in own) == 16


def test_each_mark_is_a_cluster_of_its_own(planned: Planned) -> None:
    _, work = planned

    for member in dict.fromkeys(part.member for part in work.ranges):
        clusters = [part.cluster for part in work.ranges if part.member == member]
        assert None not in clusters
        assert len(set(clusters)) == len(clusters)


def test_the_same_context_is_the_same_work(speak: Speak) -> None:
    one, other = plan(speak, 1024), plan(speak, 1024)

    assert one.digest() == other.digest()
    assert one.ranges == other.ranges
    assert plan(speak, 1028).digest() != one.digest()


def test_inputs_are_no_longer_than_asked_for(speak: Speak) -> None:
    short = LongInput(fillers=PROSE, most_tokens=1024).work(speak(4096))

    # one text a part, though the model knows longer ones: whoever asks for less wants to wait less
    assert [len(span.ids) for span in short.spans] == [1024] * PARTS


def test_parts_are_whole_texts_and_together_are_everything(speak: Speak) -> None:
    probe = LongInput(fillers=PROSE, most_tokens=1024)
    whole = probe.work(speak(1024))
    first, last = probe.take([0, 1]).work(speak(1024)), probe.take([2, 3]).work(speak(1024))

    assert probe.size == PARTS
    spans = [span.ids.tobytes() for span in (*first.spans, *last.spans)]
    assert spans == [span.ids.tobytes() for span in whole.spans]
    clusters = [part.cluster for part in (*first.ranges, *last.ranges)]
    assert clusters == [part.cluster for part in whole.ranges]


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (383, "the context is too short: got 383 tokens; expected at least 384"),
        (0, "the context is too short: got 0 tokens; expected at least 384"),
        (390, "the facts alone are too long: got "),
    ],
)
def test_a_context_that_is_too_short_is_refused(
    speak: Speak, monkeypatch: pytest.MonkeyPatch, context: int, line: str
) -> None:
    tokenizer = speak(context)
    encode = TokenizerClient._encode

    def wordy(self: TokenizerClient, texts: list[str], *, begins: bool) -> tuple[np.ndarray, ...]:
        """A tokenizer that needs three tokens where bytes need one."""
        found = encode(self, texts, begins=begins)
        return tuple(np.repeat(ids, 3) for ids in found)

    monkeypatch.setattr(TokenizerClient, "_encode", wordy)
    with pytest.raises(MeasurementError) as caught:
        LongInput(fillers=PROSE, most_tokens=10**6).work(tokenizer)

    assert str(caught.value).startswith(f"edge.long_input: {line}")


# --- what is read ---------------------------------------------------------------------------------


def answered(work: Work, *, nats: Callable[[str], float], said: Callable[[int], bool]) -> Outcome:
    """A side whose likelihoods are told by member, and facts by their number."""
    nll = [np.full(len(span.ids) - 1, 3.0) for span in work.spans]
    tops = [np.zeros(len(span.ids) - 1, dtype=bool) for span in work.spans]
    rng = np.random.default_rng(0)
    ranges = sorted(work.ranges, key=lambda part: part.member == "passages at first")
    for part in ranges:  # the last range of a place is what it says
        at = slice(part.start - 1, part.stop - 1)
        nll[part.span][at] = nats(part.member) + rng.normal(0, 0.01, part.stop - part.start)
    for number, part in enumerate(ranges_of(work, "facts")):
        tops[part.span][part.start - 1 : part.stop - 1] = said(number)
    return make_outcome(nll=[one.tolist() for one in nll], tops=[one.tolist() for one in tops])


def nats_of(member: str) -> float:
    return 3.0 if member == "passages at first" else 1.0


def read(work: Work, artifact: Outcome, reference: Outcome) -> LongAnswers:
    return LongInput(fillers=PROSE, most_tokens=10**6).read(pair(artifact, reference, work))


def test_each_member_has_its_own_ratio(planned: Planned) -> None:
    context, work = planned
    far = f"passages about {context} tokens back"
    reference = answered(work, nats=nats_of, said=lambda _: True)
    artifact = answered(
        work,
        nats=lambda member: 1.5 if member == far else nats_of(member),
        said=lambda number: number % 2 == 0,
    )

    family = read(work, artifact, reference)
    found = family.estimate("edge.long_input", 0.95, {})

    hidden = {"passages at first", "the last tokens"}
    assert set(found) == {part.member for part in work.ranges} - hidden
    for member, estimate in found.items():
        wanted = np.exp(0.5 / 4) if member == far else 1.0
        assert estimate.value == pytest.approx(wanted, abs=0.06)
    details = family.details("edge.long_input")
    assert json.loads(json.dumps(details)) == details
    count = TEXTS[context] * facts_a_quarter(context)
    assert [one["facts"] for one in details["recall"].values()] == [count] * 4 * bool(count)
    assert all(one["reference_said"] == count for one in details["recall"].values())


def test_the_last_tokens_are_a_row_of_their_own(planned: Planned) -> None:
    context, work = planned
    reference = answered(work, nats=nats_of, said=lambda _: True)
    artifact = answered(
        work,
        nats=lambda member: 1.6 if member == "the last tokens" else nats_of(member),
        said=lambda _: True,
    )

    found = read(work, artifact, reference)

    # of what came before, and costs less for that, a quarter of the logarithm counts
    [estimate] = found.estimate("edge.context_limit", 0.95, {}).values()
    assert estimate.value == pytest.approx(np.exp(0.6 / 4), abs=0.01)
    assert estimate.low > 1.1
    assert found.details("edge.context_limit")["context_tokens"] == context


@pytest.mark.parametrize(
    ("beginning", "nats", "said", "reason"),
    [
        ("facts", 1.0, False, "the reference recalls 0 of 24 facts; expected 75%"),
        ("passages about", 2.5, True, "the reference needs 2.50 nats a token when it reads a"),
        ("text", 9.0, True, "got 8."),
    ],
)
def test_what_the_reference_cannot_do_is_left_out(
    speak: Speak, beginning: str, nats: float, said: bool, reason: str
) -> None:
    work = plan(speak, 1024)
    reference = answered(
        work,
        nats=lambda member: nats if member.startswith(beginning) else nats_of(member),
        said=lambda _: said,
    )

    found = read(work, reference, reference)

    left_out = found.details("edge.long_input")["left_out"]
    assert len(left_out) == 4
    for member, why in left_out.items():
        assert member.startswith(beginning)
        assert why.startswith(reason)
        assert member not in found.estimate("edge.long_input", 0.95, {})


def test_a_member_of_one_document_is_left_out_and_the_others_are_judged(speak: Speak) -> None:
    short = tuple(text[:240] for text in PROSE)  # of bytes few others begin in a quarter
    probe = LongInput(fillers=short, most_tokens=2400, units=(0,))
    work = probe.work(speak(4096))
    alone = {
        member
        for member, ranges in Counter(part.member for part in work.ranges).items()
        if ranges == 1
    }
    reference = answered(work, nats=nats_of, said=lambda _: True)

    found = probe.read(pair(reference, reference, work))

    assert any(member.startswith("passages") for member in alone)
    assert found.details("edge.long_input")["left_out"] == dict.fromkeys(
        alone, "the text is too short for it: got 1 document; expected at least 2"
    )
    judged = {part.member for part in work.ranges} - alone
    hidden = {"passages at first", "the last tokens"}
    assert set(found.estimate("edge.long_input", 0.95, {})) == judged - hidden


def test_a_text_too_short_for_any_member_says_what_to_set(speak: Speak) -> None:
    probe = LongInput(fillers=PROSE, most_tokens=400, most_parts=1, units=(0,))
    work = probe.work(speak(4096))
    reference = answered(work, nats=nats_of, said=lambda _: True)

    with pytest.raises(NotApplicable) as told:
        probe.read(pair(reference, reference, work)).require("edge.long_input")

    assert re.fullmatch(
        r"edge\.long_input: text: the text is too short for it: got 1 document;"
        r" expected at least 2\. Ask for longer texts or more of them: edge: \{context_tokens: N,"
        r" long_texts: N\}",
        str(told.value),
    )


def test_a_reference_that_can_do_nothing_of_it_skips_both_rows(speak: Speak) -> None:
    work = plan(speak, 1024)
    blank = answered(work, nats=lambda _: 9.0, said=lambda _: False)

    probe = LongInput(fillers=PROSE, most_tokens=10**6)
    for check in probe.checks:
        with pytest.raises(NotApplicable, match=f"^{check}: the reference itself cannot do it"):
            probe.require_reference(check, work, blank)
    # and so no artifact is asked
    with pytest.raises(NotApplicable, match=r"^edge.long_input, edge.context_limit: the reference"):
        read(work, blank, blank)


def test_a_fact_is_said_where_all_its_tokens_are(speak: Speak) -> None:
    work = plan(speak, 1024)
    outcome = answered(work, nats=nats_of, said=lambda _: True)
    part = ranges_of(work, "facts")[0]
    tops = [one.copy() for one in outcome.is_top]
    tops[part.span][part.stop - 2] = False  # its last digit
    spoiled = dataclasses.replace(outcome, is_top=tuple(tops))

    recall = read(work, spoiled, outcome).details("edge.long_input")["recall"][part.member]

    assert (recall["said"], recall["reference_said"]) == (23, 24)


# --- with real tokenizers and models --------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from qgate.demo.__main__ import model_directory
    from qgate.demo.formats.gguf_convert import convert
    from qgate.demo.formats.gguf_quantize import quantize

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
        load(found[name], path, 512, threads=None)
    yield found
    for host in found.values():
        host.close()


def test_a_byte_level_tokenizer_keeps_the_layout(children: dict[str, Host]) -> None:
    work = LongInput(fillers=PROSE, most_tokens=4096).work(TokenizerClient(children["F16"], 512, 0))
    ranges = ranges_of(work, "facts")
    [digits] = {part.stop - part.start for part in ranges}

    assert {len(span.ids) for span in work.spans} == {512}
    for part in ranges:
        ids, number = (
            work.spans[part.span].ids,
            work.spans[part.span].ids[part.start : part.stop],
        )
        places = [at for at in range(len(ids)) if ids[at : at + digits].tolist() == number.tolist()]
        assert places[0] < part.start


@pytest.mark.slow
def test_two_bits_are_seen_and_the_model_itself_is_not(children: dict[str, Host]) -> None:
    probe = LongInput(fillers=PROSE, most_tokens=4096)
    work = probe.work(TokenizerClient(children["F16"], 512, 0))
    reference, again = (perform(work, children["F16"], ()) for _ in range(2))
    broken = perform(work, children["Q2_K"], ())

    same = probe.read(Pair(work=work, reference=reference, artifact=again))
    damaged = probe.read(Pair(work=work, reference=reference, artifact=broken))

    assert {one.value for one in same.estimate("edge.long_input", 0.95, {}).values()} == {1.0}
    found = damaged.estimate("edge.long_input", 0.95, {})
    assert max(one.value for one in found.values()) > 1.01
    recall = damaged.details("edge.long_input")["recall"].values()
    assert sum(counts["said"] for counts in recall) < sum(
        counts["reference_said"] for counts in recall
    )


def test_what_the_reference_has_mastered_is_decided_once_for_all_looks(planned: Planned) -> None:
    context, work = planned
    probe = LongInput(fillers=PROSE, most_tokens=10**6)
    far = f"passages about {context} tokens back"
    settled = probe.settled(work, answered(work, nats=nats_of, said=lambda _: True))

    # the answers of one look alone say that the reference cannot do it
    unlucky = answered(
        work, nats=lambda member: 2.9 if member == far else nats_of(member), said=lambda _: True
    )
    damaged = answered(
        work, nats=lambda member: 6.0 if member == far else nats_of(member), said=lambda _: True
    )

    assert far not in probe.read(pair(damaged, unlucky, work)).estimate("edge.long_input", 0.95, {})
    found = settled.read(pair(damaged, unlucky, work)).estimate("edge.long_input", 0.95, {})
    assert found[far].low > 1.5
