"""What vLLM answers is read as it was said, or refused; without vLLM."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.base import Span
from qgate.runtimes.vllm.prompt_logprobs import read_output

IDS = np.array([7, 3, 9, 5, 2], dtype=np.int32)
TOP = 2


class Flat(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.start_indices)


def output(**changes: Any) -> Any:
    """A request of five tokens as vLLM answers: at each position the token, then the likeliest."""
    each = TOP + 1
    ends = [0, *(each * number for number in range(1, 5))]
    fields = {
        "start_indices": [0, 0, *ends[1:-1]],
        "end_indices": ends,
        "token_ids": [token for own in IDS[1:] for token in (int(own), 3, 4)],
        "logprobs": [value for row in range(4) for value in (-2.0 - row, -0.5, -1.5)],
        "ranks": [value for _ in range(4) for value in (3, 1, 2)],
        **changes,
    }
    return SimpleNamespace(prompt_logprobs=Flat(**fields))


def test_a_reading_is_what_vllm_said() -> None:
    reading = read_output(output(), Span(ids=IDS, first=1), TOP, is_named=False)

    assert reading.logprobs.tolist() == [-3.0, -4.0, -5.0]
    assert reading.top_ids.tolist() == [[3, 4]] * 3
    assert reading.top_logprobs.tolist() == [[-0.5, -1.5]] * 3
    assert reading.is_top.tolist() == [False] * 3
    assert reading.named_logprobs is None


def test_a_token_ranked_first_alone_is_the_top() -> None:
    ranks = [value for row in range(4) for value in (1 + row % 2, 1, 2)]

    reading = read_output(output(ranks=ranks), Span(ids=IDS, first=0), TOP, is_named=False)

    assert reading.is_top.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": [8] * 12}, "log-probabilities of other tokens than were sent"),
        ({"start_indices": [0, 0, 3, 6], "end_indices": [0, 3, 6, 9]}, "at 4 positions; expected"),
        ({"end_indices": [0, 3, 6, 9, 11]}, "got 11 log-probabilities; expected 3 at each of 4"),
    ],
)
def test_an_answer_to_something_else_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        read_output(output(**changes), Span(ids=IDS, first=0), TOP, is_named=False)

    assert message in str(caught.value)


def test_no_answer_is_refused() -> None:
    nothing = SimpleNamespace(prompt_logprobs=None, prompt_token_id_logprobs=None)

    with pytest.raises(MeasurementError, match="got log-probabilities at none positions"):
        read_output(nothing, Span(ids=IDS, first=0), TOP, is_named=False)


def test_named_tokens_that_are_not_told_are_refused() -> None:
    silent = SimpleNamespace(
        prompt_logprobs=output().prompt_logprobs, prompt_token_id_logprobs=None
    )

    with pytest.raises(MeasurementError, match="got no log-probabilities of the named tokens"):
        read_output(silent, Span(ids=IDS, first=0), TOP, is_named=True)
