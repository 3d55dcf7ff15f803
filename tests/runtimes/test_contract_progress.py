"""What every adapter tells of the prompts and sequences that are with its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.worker import spans as sequences

if TYPE_CHECKING:
    from tests.runtimes.conftest import Served


class ProgressLog:
    """Progress as it came, and what was with the model by it."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def __call__(self, *said: Any) -> None:
        self.said.append(said)

    def places(self, what: str, total: int) -> list[tuple[int, int]]:
        """Each stretch that was told, once it begins with what is through."""
        found = [said for said in self.said if len(said) == 4 and said[3] is not None]
        assert {said[0] for said in found} == {what}
        assert {said[2] for said in found} == {total}
        assert all(said[1] == said[3][0] for said in found)
        return [said[3] for said in found]


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_prompt_is_told_of_before_it_is_answered(served: Served, batch_size: int) -> None:
    told, count = ProgressLog(), 10
    prompts = [Prompt(ids=served.ids(number, 5), max_tokens=20) for number in range(count)]

    served.runtime.answer(prompts, batch_size, told)

    places = told.places("answering", count)
    assert [begin for begin, _ in places] == [0, *(stop for _, stop in places[:-1])]
    assert places[-1][1] == count
    assert all(0 < stop - begin <= batch_size for begin, stop in places)


def test_every_sequence_is_told_of_before_it_is_scored(served: Served) -> None:
    told, count = ProgressLog(), 150
    spans = [Span(ids=served.ids(number, 40), first=3) for number in range(count)]

    sequences.score_spans(served.runtime, spans, told)

    places = told.places("scoring", count)
    assert [begin for begin, _ in places] == [0, *(stop for _, stop in places[:-1])]
    assert places[-1][1] == count


def test_a_failure_comes_after_its_prompt_was_told_of(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ProgressLog()
    spans = [Span(ids=served.ids(number, 40), first=3) for number in range(150)]
    once = sequences._score_pack
    packs: list[int] = []

    def fail_in_the_second(runtime: Any, pack: Any, team: Any) -> Any:
        packs.append(len(pack))
        if len(packs) == 2:
            raise MeasurementError("it fails")
        return once(runtime, pack, team)

    monkeypatch.setattr(sequences, "_score_pack", fail_in_the_second)
    with pytest.raises(MeasurementError, match="it fails"):
        sequences.score_spans(served.runtime, spans, told)

    assert told.places("scoring", 150)[-1] == (packs[0], sum(packs))
