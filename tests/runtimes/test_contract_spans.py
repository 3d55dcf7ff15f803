"""What every adapter promises of sequences that are packed together; as `test_contract.py`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import runtimes
from qgate.runtimes.base import LoadSettings, Span
from tests.runtimes.conftest import PACKED, TOKENS, Served, open_model, spans_of

if TYPE_CHECKING:
    from pathlib import Path

ROUNDING = 0.01
"""Between one call and two of the same sequence in 16 bits; 0.0025 was measured."""
SHAPES = [(2, 0), (3, 1), (17, 0), (17, 10), (64, 0), (64, 32), (64, 62)]


class TestSpans:
    @pytest.mark.parametrize(("count", "first"), SHAPES)
    def test_a_span_alone_has_the_logits_of_its_sequence(
        self, served: Served, count: int, first: int
    ) -> None:
        ids = served.ids(count, count)

        wanted = served.logits(ids[:-1], first)
        rows = served.rows([Span(ids=ids, first=first)])

        assert rows.shape == (count - 1 - first, served.facts.n_vocab)
        assert rows.dtype == np.float32
        assert rows == pytest.approx(wanted, abs=ROUNDING)

    @pytest.mark.parametrize(
        "sizes", [[2] * 64, list(range(2, 22)), [60, 2, 60, 3, 60, 4]], ids=len
    )
    def test_a_span_in_a_pack_has_the_logits_that_it_has_alone(
        self, served: Served, sizes: list[int]
    ) -> None:
        spans = spans_of(served, sizes)
        assert sum(sizes) <= served.runtime.tokens_per_pack

        together = served.rows(spans)
        alone = np.concatenate([served.rows([span]) for span in spans])

        assert together.shape == alone.shape
        assert together == pytest.approx(alone, abs=PACKED)

    def test_a_span_knows_nothing_of_what_lies_beside_it(self, served: Served) -> None:
        spans = spans_of(served, [30, 17, 40])
        others = [Span(ids=served.ids(9, 30), first=spans[0].first), spans[1], spans[2]]
        others[2] = Span(ids=served.ids(8, 40), first=spans[2].first)
        mine = slice(29 - spans[0].first, 29 - spans[0].first + 16 - spans[1].first)

        before, after = served.rows(spans), served.rows(others)

        assert before[mine].tobytes() == after[mine].tobytes()
        assert before.tobytes() != after.tobytes()

    def test_choices_that_share_their_prompt_have_the_logits_that_they_have_alone(
        self, served: Served
    ) -> None:
        prompts = [served.ids(1, 30), served.ids(2, 9), served.ids(3, 20)]
        choices = [[1, 4, 2], [3], [1, 1, 12, 2]]
        spans = [
            Span(
                ids=np.concatenate([prompt, served.ids(10 * number + size, size)]),
                first=len(prompt) - 1,
            )
            for number, (prompt, sizes) in enumerate(zip(prompts, choices, strict=True))
            for size in sizes
        ]

        together = served.rows(spans)
        alone = np.concatenate([served.rows([span]) for span in spans])

        assert together.shape == (sum(map(sum, choices)), served.facts.n_vocab)
        assert together == pytest.approx(alone, abs=PACKED)

    def test_a_pack_repeats_itself_to_the_bit(self, served: Served) -> None:
        spans = spans_of(served, [12, 40, 3, 25])

        once = served.rows(spans)
        served.rows(spans_of(served, [60, 50], seed=1))
        served.logits(served.ids(2), 5)
        served.sample(sequences=3, tokens=10, seed=0)
        again = served.rows(spans)

        assert once.tobytes() == again.tobytes()

    def test_a_span_longer_than_a_pack_has_the_logits_of_its_window(self, served: Served) -> None:
        longest = served.runtime.tokens_per_pack + 77
        with closing(open_model(served.name, served.path, longest).runtime) as runtime:
            long = Served(runtime=runtime, facts=served.facts, path=served.path, name=served.name)
            windows = np.stack([long.ids(seed, longest) for seed in range(2)])
            wanted = long.windows(windows, longest // 2)

            for ids, rows in zip(windows, wanted, strict=True):
                found = long.rows([Span(ids=ids, first=longest // 2)])
                assert found == pytest.approx(rows[:-1], abs=PACKED)


@pytest.mark.parametrize("scheme", ["q8_0", "q5_0", "q4_0"])
def test_packing_moves_a_quantized_model_to_and_fro_and_no_way(stories: Path, scheme: str) -> None:
    # llama.cpp rounds activations otherwise in calls of many tokens: up to 0.3 nats at a token
    with closing(runtimes.make("llama_cpp")) as runtime:
        path = stories / f"stories260K-{scheme}.gguf"
        facts = runtime.load(LoadSettings(path=str(path), window_tokens=TOKENS, threads=1))
        served = Served(runtime=runtime, facts=facts, path=path, name="llama_cpp")
        spans = [Span(ids=served.ids(number, 40), first=0) for number in range(25)]
        targets = np.concatenate([span.ids[1:] for span in spans])

        together, alone = (
            negative_log_likelihood(rows, targets)
            for rows in (
                served.rows(spans),
                np.concatenate([served.rows([span]) for span in spans]),
            )
        )

    moved = together - alone
    assert abs(moved.mean()) < 0.02
    assert np.abs(moved).max() < 0.8


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    from scipy.special import log_softmax

    found: np.ndarray = -log_softmax(logits.astype(float), axis=1)[np.arange(len(targets)), targets]
    return found
