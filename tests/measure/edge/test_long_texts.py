"""Long texts fill the context, hold what they say, and their ranges lie where they say it."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.measure.edge.long_input import LongInput
from qgate.runtimes.requests import TokenizerClient
from tests.support.long_texts import (
    PARTS,
    PROSE,
    TEXTS,
    facts_a_quarter,
    lengths_of,
    plan,
    ranges_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.runtimes.host import Host
    from qgate.runtimes.requests import Work
    from tests.support.long_texts import Planned, Speak


def text_of(ids: np.ndarray) -> str:
    # where a document is cut there may be half a character
    return bytes(ids.tolist()).decode(errors="replace")


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
