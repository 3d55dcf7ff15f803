"""An answer that changes beside others is flagged, by its tokens and by its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.invariance import BatchInvariance
from qgate.reference.prompts import read_conversations, read_prompts
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import NO_END
from qgate.runtimes.requests import Outcome, Pair, TokenizerClient, perform
from qgate.thresholds import shipped_path
from tests.conftest import Toy, write_toy
from tests.support.children import load
from tests.support.outcomes import END, make_answers, make_outcome, pair

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.measure.tasks.paired_binary import PairedAnswers
    from qgate.runtimes.messages import Answers

Speak = Callable[[int], TokenizerClient]
N = 20
ALONE = make_answers(*[f"answer {number}" for number in range(N)])


def read(artifact: Outcome, reference: Outcome) -> PairedAnswers:
    probe = BatchInvariance(prompts=tuple(f"prompt {number}" for number in range(N)))
    return probe.read(pair(artifact, reference))


def both(*texts: str, ends: list[int] | None = None) -> Outcome:
    return make_outcome(ALONE, make_answers(*texts, ends=ends))


SAME = both(*ALONE.texts)


def test_answers_that_stay_as_they_are_are_not_flagged() -> None:
    found = read(SAME, SAME)

    assert not found.artifact.any()
    assert not found.reference.any()


def test_another_token_a_lost_token_and_another_end_are_changes() -> None:
    texts = list(ALONE.texts)
    texts[3], texts[5], texts[6] = "answer 9", "answer", "answer 6 and more"
    ends = [END] * N
    ends[11], ends[12] = NO_END, 9
    artifact = both(*texts, ends=ends)

    found = read(artifact, SAME)

    assert found.artifact.nonzero()[0].tolist() == [3, 5, 6, 11, 12]
    assert found.is_lost.tolist() == found.artifact.tolist()
    assert found.estimate("edge.batch_invariance", 0.95, {}).value == pytest.approx(5 / N)


@pytest.mark.parametrize(("margin_nats", "flags"), [(0.2, 0), (0.3, N)])
def test_near_ties_that_turn_are_rounding(margin_nats: float, flags: int) -> None:
    texts = [f"{text}!" for text in ALONE.texts]
    near = make_outcome(
        make_answers(*ALONE.texts, margin_nats=margin_nats),
        make_answers(*texts, margin_nats=margin_nats),
    )

    assert read(near, SAME).artifact.sum() == flags


def with_margin(answers: Answers, place: int, margin_nats: float) -> Answers:
    """So narrow a lead of every answer's token at that place."""
    margins = [own.copy() for own in answers.margins_nats]
    for own in margins:
        own[place] = margin_nats
    return dataclasses.replace(answers, margins_nats=tuple(margins))


@pytest.mark.parametrize(
    ("alone_nats", "together_nats", "flags"),
    [(0.0, 0.0, 0), (0.2, 0.25, 0), (0.3, 0.3, N), (0.0, 0.6, N), (0.6, 0.0, N)],
)
def test_a_near_tie_may_turn_and_all_that_follows_with_it(
    alone_nats: float, together_nats: float, flags: int
) -> None:
    other = make_answers(*[text.replace("wer", "xyz") for text in ALONE.texts])
    place = "answer".index("w")

    alone, together = (
        with_margin(ALONE, place, alone_nats),
        with_margin(other, place, together_nats),
    )

    assert read(make_outcome(alone, together), SAME).artifact.sum() == flags


def test_a_near_tie_elsewhere_excuses_nothing() -> None:
    other = make_answers(*[text.replace("answer", "answex") for text in ALONE.texts])

    for place in (0, 4, 6):
        outcome = make_outcome(with_margin(ALONE, place, 0.0), with_margin(other, place, 0.0))
        assert read(outcome, SAME).artifact.all()


def test_an_answer_that_breaks_off_has_changed_whatever_was_near() -> None:
    whole, cut = (
        make_answers(*texts, ends=[NO_END] * N, margin_nats=0.0)
        for texts in (ALONE.texts, [text[:-1] for text in ALONE.texts])
    )

    assert read(make_outcome(whole, cut), SAME).artifact.all()
    assert read(make_outcome(cut, whole), SAME).artifact.all()


def test_what_changes_with_the_reference_too_is_no_damage() -> None:
    texts = [f"{text}!" if number < 5 else text for number, text in enumerate(ALONE.texts)]

    found = read(both(*texts), both(*texts))

    assert found.artifact.sum() == found.reference.sum() == 5
    assert found.estimate("edge.batch_invariance", 0.95, {}).value == 0.0


def test_the_worst_are_shown_both_ways() -> None:
    texts = ["something else", *ALONE.texts[1:]]

    details = read(both(*texts), SAME).details("edge.batch_invariance")

    assert (details["side_by_side"], details["rounding_nats"]) == (8, 0.5)
    [shown] = details["worst"]
    assert shown == {
        "prompt": "prompt 0",
        "artifact": "alone: answer 0 | beside others: something else",
        "reference": "alone: answer 0 | beside others: answer 0",
    }


def test_the_same_prompts_are_asked_one_at_a_time_and_together(speak: Speak) -> None:
    prompts = ("a" * 9, "b" * 50, "c")

    alone, together = BatchInvariance(prompts=prompts).work(speak(64)).batches

    assert (alone.batch_size, together.batch_size) == (1, 8)
    assert alone.prompts == together.prompts
    assert [len(prompt.ids) for prompt in alone.prompts] == [10, 51, 2]
    assert {prompt.max_tokens for prompt in alone.prompts} == {8}
    assert all(len(prompt.ids) + prompt.max_tokens <= 64 for prompt in alone.prompts)


@pytest.mark.parametrize("context", [0, 3, 8])
def test_a_context_without_room_is_refused(speak: Speak, context: int) -> None:
    with pytest.raises(MeasurementError) as caught:
        BatchInvariance(prompts=("a",)).work(speak(context))

    assert str(caught.value) == (
        f"edge.batch_invariance: got a context of {context} tokens; expected more than 8"
    )


def test_a_runtime_whose_answers_do_not_depend_on_others_has_no_flag(
    speak: Speak, bytes_child: Host
) -> None:
    probe = BatchInvariance(prompts=read_prompts(shipped_path().parent / "prompts" / "open.jsonl"))
    work = probe.work(speak(512))
    outcome = perform(work, bytes_child, (END,))

    found = probe.read(Pair(work=work, reference=outcome, artifact=outcome))

    assert len(found.artifact) == len(probe.prompts)
    assert not found.artifact.any()


MIXED_UP = """
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def answer(self, prompts, batch_size, progress):
        answers = super().answer(prompts, batch_size, progress)
        if batch_size > 1:  # the fifth of a batch gets its neighbour's cache
            for at in range(5, len(answers), batch_size):
                answers[at] = answers[at - 1]
        return answers
"""


def test_a_runtime_that_mixes_up_its_batch_is_seen(
    speak: Speak,
    bytes_child: Host,
    toys: Callable[..., Path],
    planted: Callable[[str], str],
) -> None:
    asked = read_conversations(shipped_path().parent / "prompts" / "conversations.jsonl")
    prompts = [one.prompt for one in asked[:96]]
    probe = BatchInvariance(prompts=tuple(f"{text}{at}" for at, text in enumerate(prompts)))
    work = probe.work(speak(512))
    path = write_toy(toys() / "bytes.gguf", Toy(scheme="F32", vocabulary=256))

    with Host(HostSettings(runtime=planted(MIXED_UP), stall_s=30.0)) as host:
        load(host, path)
        artifact = perform(work, host, (END,))
    reference = perform(work, bytes_child, (END,))
    found = probe.read(Pair(work=work, reference=reference, artifact=artifact))

    assert set(found.artifact.nonzero()[0].tolist()) <= set(range(5, len(prompts), 8))
    assert found.estimate("edge.batch_invariance", 0.95, {}).low > 0.05


def test_quick_effort_skips_the_row_and_says_what_to_type(speak: Speak) -> None:
    with pytest.raises(
        NotApplicable, match=r"quick effort does not ask it\. .*=standard, or write"
    ):
        BatchInvariance(prompts=()).work(speak(64))
