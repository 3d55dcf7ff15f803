"""What long texts say of a model: a ratio of each member, and what the reference cannot do."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import NotApplicable
from qgate.measure.edge.long_input import LongAnswers, LongInput
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.requests import Outcome, Pair, TokenizerClient, Work, perform
from tests.support.children import load
from tests.support.long_texts import PROSE, TEXTS, facts_a_quarter, plan, ranges_of
from tests.support.outcomes import make_outcome, pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.long_texts import Planned, Speak


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
