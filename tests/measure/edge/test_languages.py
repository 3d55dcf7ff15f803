"""One member a language, every token of its documents, and no language lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.languages import Multilingual, documents_of
from qgate.reference.prompts import read_languages
from qgate.runtimes.requests import Pair, TokenizerClient, Work, perform
from qgate.thresholds import shipped_path
from tests.support.outcomes import make_outcome, pair

if TYPE_CHECKING:
    from qgate.runtimes.host import Host

Speak = Callable[[int], TokenizerClient]
PROMPTS = shipped_path().parent / "prompts"
DOCUMENTS = read_languages(PROMPTS / "documents.jsonl")
EXERCISES = read_languages(PROMPTS / "languages.jsonl")
PROBE = Multilingual(documents=documents_of(DOCUMENTS, EXERCISES))


@pytest.fixture(scope="module")
def work(speak: Speak) -> Work:
    return PROBE.work(speak(4096))


def test_every_document_is_scored_from_its_beginning(work: Work) -> None:
    assert len(work.spans) == len(work.ranges) == PROBE.size
    for span, document in zip(work.spans, PROBE.documents, strict=True):
        assert bytes(span.ids.tolist()).decode() == f"\x01{document.text}"
        assert span.first == 0
    assert work.batches == ()


def test_a_member_is_a_language_and_has_all_of_its_tokens(work: Work) -> None:
    documents: dict[str, int] = {}
    for number, scored in enumerate(work.ranges):
        assert (scored.span, scored.start, scored.stop) == (number, 1, len(work.spans[number].ids))
        documents[scored.member] = documents.get(scored.member, 0) + 1

    assert documents == {
        **{language: len(texts) for language, texts in DOCUMENTS.items()},
        **{f"{language}, exercises": len(texts) for language, texts in EXERCISES.items()},
    }


def test_the_first_half_has_every_language(speak: Speak) -> None:
    half = PROBE.take(range(PROBE.size // 2))

    assert half.members == PROBE.members


# --- what the reference speaks --------------------------------------------------------------------


def spoken(bits: dict[str, float], most: int = 64) -> Multilingual:
    """The probe that is asked where the reference has so many bits a byte, 9 unless said."""
    scout = PROBE.scout()
    nll = [
        [bits.get(document.member, 9.0) * document.letters * np.log(2)]
        for document in scout.documents
    ]
    probe = dataclasses.replace(PROBE, most_members=most)
    return probe.narrowed(Work(), make_outcome(nll=nll))


def test_the_scout_has_few_documents_of_each_member() -> None:
    scout = PROBE.scout()

    assert scout.members == PROBE.members
    assert scout.size == len(PROBE.members)


def test_what_the_reference_does_not_speak_is_not_asked() -> None:
    found = spoken({"en": 1.0, "de": 2.5, "hi": 3.5, "ru, exercises": 0.2, "hi, exercises": 0.96})

    assert set(found.members) == {"en", "de", "ru, exercises"}
    counts = {name: sum(one.member == name for one in found.documents) for name in found.members}
    assert counts == {"en": 10, "de": 5, "ru, exercises": 24}
    assert found.half_known == {"de"}
    assert found.left_out["hi"] == "got 3.50 bits a byte; expected at most 3"
    assert found.left_out["hi, exercises"] == "got 0.96 bits a byte; expected at most 0.5"


def test_of_many_languages_those_are_asked_that_the_reference_knows_best() -> None:
    bits = {"en": 1.0, "de": 2.5, "fr": 2.2, "es": 2.8, "ru, exercises": 0.2}
    found = spoken(bits, most=3)

    assert set(found.members) == {"en", "fr", "ru, exercises"}
    assert found.half_known == {"fr"}
    assert found.left_out["de"] == "the reference knows 3 others better"


def test_a_reference_that_speaks_nothing_skips_the_row() -> None:
    with pytest.raises(NotApplicable, match=r"speaks none of 19 languages: en: got 9\.00 bits"):
        spoken({})


def test_letters_are_those_of_the_same_text_in_english() -> None:
    found = documents_of({"en": ("to be",), "de": ("zu sein oder so",)}, {"fr": ("oui",)})

    assert [(one.member, one.letters) for one in found] == [
        ("en", 5),
        ("de", 5),
        ("fr, exercises", 3),
    ]


def test_of_what_is_half_known_a_quarter_of_the_logarithm_counts(speak: Speak) -> None:
    probe = spoken({"en": 1.0, "de": 2.5})
    work = probe.work(speak(4096))
    rng = np.random.default_rng(0)
    reference = [rng.gamma(1.0, 2.0, scored.stop - scored.start) for scored in work.ranges]
    artifact = [nll + 0.2 for nll in reference]

    family = probe.read(
        pair(
            make_outcome(nll=[one.tolist() for one in artifact]),
            make_outcome(nll=[one.tolist() for one in reference]),
            work,
        )
    )

    found = family.estimate("edge.multilingual", 0.95, {})
    assert found["en"].value == pytest.approx(np.exp(0.2))
    assert found["de"].value == pytest.approx(np.exp(0.05))
    details = family.details("edge.multilingual")
    assert details["half_known"] == ["de"]
    assert "hi" in details["left_out"]


# --- what is asked --------------------------------------------------------------------------------


def test_a_document_longer_than_the_context_is_cut(speak: Speak) -> None:
    found = Multilingual(documents=documents_of({"en": ("a" * 50, "b" * 5)}, {})).work(speak(20))

    assert [len(span.ids) for span in found.spans] == [20, 6]
    assert [scored.stop for scored in found.ranges] == [20, 6]


@pytest.mark.parametrize(("documents", "context"), [(("a", "bcd"), 64), (("abc", "bcd"), 2)])
def test_a_document_of_next_to_nothing_is_refused(
    speak: Speak, documents: tuple[str, ...], context: int
) -> None:
    with pytest.raises(MeasurementError, match=r"^edge\.multilingual: got a document of fewer"):
        Multilingual(documents=documents_of({"en": documents}, {})).work(speak(context))


def test_one_damaged_language_is_seen_and_named(work: Work) -> None:
    rng = np.random.default_rng(0)
    reference, artifact = [], []
    for scored in work.ranges:
        nll = rng.gamma(1.0, 2.0, scored.stop - scored.start)
        reference.append(nll.tolist())
        damage = 0.4 if scored.member == "hi" else 0.0
        artifact.append((nll + damage + rng.normal(0.0, 0.1, len(nll))).tolist())

    family = PROBE.read(pair(make_outcome(nll=artifact), make_outcome(nll=reference), work))
    found = family.estimate("edge.multilingual", 0.95, {})

    assert found.keys() == set(PROBE.members)
    for language, estimate in found.items():
        damaged = language == "hi"
        assert estimate.value == pytest.approx(np.exp(0.4) if damaged else 1.0, rel=0.05)
        assert (estimate.low > 1.1) == damaged
        texts = [one.text for one in PROBE.documents if one.member == language]
        assert estimate.n == sum(len(text.encode()) for text in texts)


def test_a_model_beside_itself_is_undamaged_in_every_language(
    speak: Speak, bytes_child: Host, work: Work
) -> None:
    one, other = (perform(work, bytes_child, ()) for _ in range(2))

    found = PROBE.read(Pair(work=work, reference=one, artifact=other)).estimate(
        "edge.multilingual", 0.95, {}
    )

    assert {(one.value, one.low, one.high) for one in found.values()} == {(1.0, 1.0, 1.0)}
