"""Answers that loop, do not end, or have another length; and those that do none of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.free_running import FreeAnswers, FreeRunning, compresses, is_loop
from qgate.reference.prompts import read_languages, read_prompts
from qgate.runtimes.messages import NO_END
from qgate.runtimes.requests import Outcome, Pair, TokenizerClient, Work, perform
from qgate.thresholds import shipped_path
from tests.support.outcomes import END, make_answers, make_outcome, pair

if TYPE_CHECKING:
    from qgate.runtimes.host import Host

Speak = Callable[[int], TokenizerClient]
SHIPPED = shipped_path().parent / "prompts"

# --- loops ----------------------------------------------------------------------------------------


def tokens(*parts: Sequence[int]) -> np.ndarray:
    return np.concatenate([np.array(part, dtype=np.int32) for part in parts])


@pytest.mark.parametrize("period", range(1, 9))
@pytest.mark.parametrize("before", [0, 1, 5, 100])
def test_a_piece_again_and_again_is_a_loop(period: int, before: int) -> None:
    said = tokens(range(1000, 1000 + before), list(range(period)) * 30)

    assert is_loop(said)
    for cut in range(period):
        assert is_loop(said[: len(said) - cut])


@pytest.mark.parametrize(
    "said",
    [
        [],
        [7] * 23,
        list(range(24)),
        list(range(9)) * 5,
        [7] * 23 + [8],
        [7] * 100 + list(range(24)),
        [1, 2, 3] * 7 + [1, 2, 4],
        np.random.default_rng(0).integers(0, 40, 200).tolist(),
    ],
    ids=[
        "nothing",
        "shorter than a loop",
        "all different",
        "a period beyond a third",
        "the loop is left",
        "the loop was left long ago",
        "all but the last",
        "chance",
    ],
)
def test_what_goes_on_is_no_loop(said: list[int]) -> None:
    assert not is_loop(tokens(said))


PROSE = {
    language: texts[0]
    for language, texts in read_languages(Path(__file__).with_name("prose.jsonl")).items()
}
"""Of the Universal Declaration of Human Rights, Article 1 and the beginning of Article 2."""


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE.keys())
def test_prose_is_no_loop_in_any_language(text: str) -> None:
    assert len(text.encode()) > 200
    assert not compresses(text)
    assert not compresses("\n".join(PROSE.values()))


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE.keys())
def test_a_sentence_again_and_again_is_a_loop_in_any_language(text: str) -> None:
    sentence = f"{text[:60]}. "

    assert compresses(sentence * 12)
    assert compresses("\n".join(PROSE.values()) + sentence * 40)
    assert not compresses(sentence)


def test_a_loop_that_was_left_is_none() -> None:
    assert not compresses("The end. " * 200 + "\n".join(PROSE.values()))


def test_what_ships_is_no_loop() -> None:
    documents = read_languages(SHIPPED / "languages.jsonl")

    for language, texts in documents.items():
        assert not any(map(compresses, texts)), language


def test_a_short_text_is_no_loop_whatever_it_says() -> None:
    assert not compresses("")
    assert not compresses("a" * 79)
    assert compresses("a" * 80)


# --- the three rows -------------------------------------------------------------------------------

N = 40
LOOP = [65, 66] * 30
TALK = [
    np.random.default_rng(number).permutation(np.arange(32, 127))[:60].tolist()
    for number in range(N)
]
"""Letters in chance order."""


def side(
    said: Sequence[Sequence[int]],
    ends: Sequence[int] | None = None,
    end_tokens: tuple[int, ...] = (END,),
) -> Outcome:
    return make_outcome(make_answers(ids=said, ends=ends), end_tokens=end_tokens)


def read(artifact: Outcome, reference: Outcome) -> FreeAnswers:
    probe = FreeRunning(prompts=tuple(f"prompt {number}" for number in range(N)), answer_tokens=60)
    return probe.read(pair(artifact, reference))


def value(found: FreeAnswers, check: str) -> float:
    return found.estimate(check, 0.95, {}).value


def test_loops_are_counted_on_both_sides() -> None:
    found = read(side([LOOP] * 10 + TALK[10:]), side(TALK[:8] + [LOOP] * 4 + TALK[12:]))

    assert value(found, "edge.repetition") == pytest.approx((10 - 4) / N)
    details = found.details("edge.repetition")
    assert (details["lost"], details["gained"]) == (8, 2)
    assert [one["prompt"] for one in details["worst"]] == [f"prompt {at}" for at in range(5)]


def test_a_text_that_compresses_counts_as_a_loop_whatever_its_tokens() -> None:
    # a sentence of more tokens than the longest period
    said = make_answers(*["The fox has 37. So it went to bed. " * 9] * N, ids=TALK)

    found = read(make_outcome(said), side(TALK))

    assert value(found, "edge.repetition") == 1.0


def test_an_answer_that_reached_its_length_has_not_ended() -> None:
    ends = [NO_END] * 6 + [END] * (N - 6)

    found = read(side(TALK, ends), side(TALK))

    assert value(found, "edge.termination") == pytest.approx(-6 / N)
    assert found.details("edge.termination")["lost"] == 6


def test_an_end_that_the_file_itself_does_not_declare_is_none() -> None:
    # a runtime knows it by its name and stops, where others would not
    artifact = side(TALK, [END] * 30 + [9] * 10, end_tokens=(9,))

    found = read(artifact, side(TALK))

    assert value(found, "edge.termination") == pytest.approx(-30 / N)


@pytest.mark.parametrize("end_tokens", [(), (NO_END,)])
def test_a_file_without_an_end_never_ends(end_tokens: tuple[int, ...]) -> None:
    artifact = side(TALK, [END] * 20 + [NO_END] * 20, end_tokens=end_tokens)

    assert value(read(artifact, side(TALK)), "edge.termination") == -1.0


def test_each_of_several_ends_is_one() -> None:
    artifact = side(TALK, [END, 9] * (N // 2), end_tokens=(END, 9))

    assert value(read(artifact, side(TALK)), "edge.termination") == 0.0


def lengths(counts: Iterable[int]) -> Outcome:
    return side([list(range(count)) for count in counts])


def test_the_length_is_the_mean_log_ratio() -> None:
    rng = np.random.default_rng(1)
    own, theirs = rng.integers(1, 90, N), rng.integers(10, 60, N)
    mean = np.mean(np.log(own + 1) - np.log(theirs + 1))

    found = read(lengths(own), lengths(theirs)).estimate("edge.answer_length", 0.95, {})

    assert found.value == pytest.approx(math.exp(abs(mean)))
    assert 1.0 <= found.low <= found.value <= found.high


def test_answers_that_say_nothing_have_a_length() -> None:
    found = read(lengths([0] * N), lengths([9] * N)).estimate("edge.answer_length", 0.95, {})

    assert found.value == pytest.approx(10.0)


def test_details_tell_mean_lengths_and_are_json() -> None:
    found = read(lengths([10] * N), lengths([30] * N))

    for check in FreeRunning.checks:
        details = found.details(check)
        assert json.loads(json.dumps(details)) == details
        assert (details["mean_tokens"], details["reference_mean_tokens"]) == (10.0, 30.0)


def test_a_lost_answer_is_refused() -> None:
    whole = side(TALK)
    [answers] = whole.answers
    short = dataclasses.replace(
        answers, ids=answers.ids[:-1], ends=answers.ends[:-1], texts=answers.texts[:-1]
    )
    found = read(make_outcome(short), whole)

    for check in FreeRunning.checks:
        with pytest.raises((MeasurementError, ValueError)):
            found.estimate(check, 0.95, {})


# --- what is asked --------------------------------------------------------------------------------


def test_prompts_are_answered_at_length_or_to_the_end_of_the_context(speak: Speak) -> None:
    prompts = ("a" * 9, "b" * 99)

    def rooms(context_tokens: int) -> list[int]:
        probe = FreeRunning(prompts=prompts, answer_tokens=64)
        [batch] = probe.work(speak(context_tokens)).batches
        assert [len(prompt.ids) for prompt in batch.prompts] == [10, 100]
        return [prompt.max_tokens for prompt in batch.prompts]

    assert rooms(200) == [64, 64]
    assert rooms(130) == [64, 30]
    assert rooms(124) == [64, 24]


def test_a_context_without_room_for_an_answer_is_refused(speak: Speak) -> None:
    probe = FreeRunning(prompts=("a" * 9, "b" * 99), answer_tokens=64)

    with pytest.raises(MeasurementError) as caught:
        probe.work(speak(123))

    assert str(caught.value) == (
        "edge: a prompt of 100 tokens leaves no room for an answer: got a context of 123;"
        " expected 24 tokens more"
    )


@pytest.mark.parametrize("check", FreeRunning.checks)
def test_a_model_beside_itself_shows_no_damage(speak: Speak, bytes_child: Host, check: str) -> None:
    probe = FreeRunning(prompts=read_prompts(SHIPPED / "open.jsonl"), answer_tokens=48)
    work = probe.work(speak(512))
    one, other = (perform(work, bytes_child, (END,)) for _ in range(2))

    found: Any = probe.read(Pair(work=work, reference=one, artifact=other)).estimate(
        check, 0.95, {}
    )

    assert found.value == (1.0 if check == "edge.answer_length" else 0.0)
    assert found.n == len(probe.prompts)


# --- what the reference leaves to lose ------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "line"),
    [
        ("edge.repetition", "the reference itself always loops: got 2 of 2 answers that do"),
        ("edge.termination", "the reference itself never ends: got 0 of 2 answers that end"),
    ],
)
def test_a_reference_that_does_nothing_else_has_nothing_to_lose(check: str, line: str) -> None:
    probe = FreeRunning(prompts=("a", "b"), answer_tokens=128)
    loops = make_outcome(make_answers(ids=[LOOP, LOOP], ends=[NO_END, NO_END]), end_tokens=(2,))
    talks = make_outcome(make_answers(ids=[LOOP, [65]], ends=[NO_END, 2]), end_tokens=(2,))

    with pytest.raises(NotApplicable, match=f"^{check}: {line}"):
        probe.require_reference(check, Work(), loops)
    for other in probe.checks:
        probe.require_reference(other, Work(), talks)
    probe.require_reference("edge.answer_length", Work(), loops)
