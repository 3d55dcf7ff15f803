"""One member a language, every token of its documents, and no language lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.measure.edge.languages import Multilingual
from qgate.measure.prompts import read_languages
from qgate.measure.work import Pair, Speaker, Work, perform
from qgate.thresholds import shipped_path
from tests.measure.outcomes import make_outcome, pair

if TYPE_CHECKING:
    from qgate.runtimes.host import Host

Speak = Callable[[int], Speaker]
DOCUMENTS = read_languages(shipped_path().parent / "prompts" / "languages.jsonl")
PROBE = Multilingual(documents=DOCUMENTS)


@pytest.fixture(scope="module")
def work(speak: Speak) -> Work:
    return PROBE.work(speak(4096))


def test_every_document_is_scored_from_its_beginning(work: Work) -> None:
    texts = [text for documents in DOCUMENTS.values() for text in documents]

    assert len(work.spans) == len(work.marks) == len(texts)
    for span, text in zip(work.spans, texts, strict=True):
        assert bytes(span.ids.tolist()).decode() == f"\x01{text}"
        assert span.first == 0
    assert work.batches == ()


def test_a_member_is_a_language_and_has_all_of_its_tokens(work: Work) -> None:
    documents: dict[str, int] = {}
    for number, mark in enumerate(work.marks):
        assert (mark.span, mark.start, mark.stop) == (number, 1, len(work.spans[number].ids))
        documents[mark.member] = documents.get(mark.member, 0) + 1

    assert documents == {language: len(texts) for language, texts in DOCUMENTS.items()}
    assert len(documents) >= 8


def test_a_document_longer_than_the_context_is_cut(speak: Speak) -> None:
    found = Multilingual(documents={"en": ("a" * 50, "b" * 5)}).work(speak(20))

    assert [len(span.ids) for span in found.spans] == [20, 6]
    assert [mark.stop for mark in found.marks] == [20, 6]


@pytest.mark.parametrize(("documents", "context"), [(("a", "bcd"), 64), (("abc", "bcd"), 2)])
def test_a_document_of_next_to_nothing_is_refused(
    speak: Speak, documents: tuple[str, ...], context: int
) -> None:
    with pytest.raises(MeasurementError, match=r"^edge\.multilingual: got a document of fewer"):
        Multilingual(documents={"en": documents}).work(speak(context))


def test_the_same_documents_are_the_same_work(speak: Speak, work: Work) -> None:
    assert PROBE.work(speak(4096)).digest() == work.digest()


def test_one_damaged_language_is_seen_and_named(work: Work) -> None:
    rng = np.random.default_rng(0)
    reference, artifact = [], []
    for mark in work.marks:
        nll = rng.gamma(1.0, 2.0, mark.stop - mark.start)
        reference.append(nll.tolist())
        damage = 0.4 if mark.member == "hi" else 0.0
        artifact.append((nll + damage + rng.normal(0.0, 0.1, len(nll))).tolist())

    family = PROBE.read(pair(make_outcome(nll=artifact), make_outcome(nll=reference), work))
    found = family.estimate("edge.multilingual", 0.95, {})

    assert found.keys() == DOCUMENTS.keys()
    for language, estimate in found.items():
        damaged = language == "hi"
        assert estimate.value == pytest.approx(np.exp(0.4) if damaged else 1.0, rel=0.02)
        assert (estimate.low > 1.1) == damaged
        assert estimate.n == sum(len(text.encode()) for text in DOCUMENTS[language])


def test_a_model_beside_itself_is_undamaged_in_every_language(
    speak: Speak, bytes_child: Host, work: Work
) -> None:
    one, other = (perform(work, bytes_child, ()) for _ in range(2))

    found = PROBE.read(Pair(work=work, reference=one, artifact=other)).estimate(
        "edge.multilingual", 0.95, {}
    )

    assert {(one.value, one.low, one.high) for one in found.values()} == {(1.0, 1.0, 1.0)}
