"""What every adapter promises, held by each that has a row in `tests.runtimes.conftest.KINDS`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import chisquare

from tests.runtimes.conftest import TOKENS, Served, open_model

TEXT = (
    "Once upon a time there was a little girl named Lily. She liked to play in the sun.\n"
    'One day she said: "Tschüß, 世界! 🙂" and ran.\t\tThe end.'
)


class TestEveryRuntime:
    def test_says_what_it_loaded(self, served: Served) -> None:
        facts = served.facts

        assert (facts.n_vocab, facts.width) == served.kind.matrix(served.path).shape
        assert 0 <= facts.first_token < facts.n_vocab
        assert facts.bos == facts.first_token == served.kind.first_token
        assert facts.n_params > facts.n_vocab * facts.width
        assert facts.context_length >= TOKENS
        files = [served.path, *served.path.glob("*")]
        size_bytes = sum(path.stat().st_size for path in files if path.is_file())
        assert 0 < facts.weights_bytes <= served.kind.widening * size_bytes
        assert facts.scoring == "logits"
        assert facts.kernel == ""

    def test_repeats_itself_to_the_bit(self, served: Served) -> None:
        ids, other = served.ids(1), served.ids(2)

        once = served.logits(ids, 10)
        served.logits(other, 0)
        served.hidden(other, 32)
        again = served.logits(ids, 10)
        fresh = open_model(served.name, served.path)
        elsewhere = fresh.logits(ids, 10)
        fresh.runtime.close()

        assert once.tobytes() == again.tobytes() == elsewhere.tobytes()

    @pytest.mark.parametrize(("count", "first"), [(64, 0), (64, 32), (64, 63), (17, 3), (1, 0)])
    def test_gives_logits_of_the_positions_asked_for(
        self, served: Served, count: int, first: int
    ) -> None:
        logits = served.logits(served.ids(3, count), first)

        assert logits.shape == (count - first, served.facts.n_vocab)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()

    def test_gives_the_same_rows_whichever_is_the_first(self, served: Served) -> None:
        ids = served.ids(4)

        whole = served.logits(ids, 0)

        for first in (1, 32, 63):
            # llama.cpp picks kernels by the tokens of a call, and these round differently
            assert served.logits(ids, first) == pytest.approx(whole[first:], abs=0.05)

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_windows_side_by_side_get_the_very_same_logits(
        self, served: Served, count: int
    ) -> None:
        windows = np.stack([served.ids(20 + number) for number in range(count)])

        alone = [served.logits(ids, 32) for ids in windows]
        together = served.windows(windows, 32)

        assert together.shape == (count, 32, served.facts.n_vocab)
        assert together.dtype == np.float32
        assert served.same(together, np.stack(alone))

    def test_reads_no_token_after_the_one_it_speaks_about(self, served: Served) -> None:
        ids = served.ids(5)
        changed = ids.copy()
        changed[40:] = served.ids(6)[40:]

        before = served.logits(ids, 0)[:40].copy()

        assert served.logits(changed, 0)[:40] == pytest.approx(before, abs=2e-5)

    @pytest.mark.parametrize("first", [0, 1, 32])
    def test_hidden_states_come_with_the_very_same_logits(self, served: Served, first: int) -> None:
        ids = served.ids(7)

        plain = served.logits(ids, first)
        logits, hidden = served.hidden(ids, first)

        assert hidden.shape == (TOKENS - first, served.facts.width)
        assert hidden.dtype == np.float32
        assert served.same(logits, plain)

    def test_logits_are_the_output_matrix_times_the_hidden_state(self, served: Served) -> None:
        logits, hidden = served.hidden(served.ids(8), 0)

        rebuilt = hidden.astype(np.float64) @ served.kind.matrix(served.path).T

        # llama.cpp rounds the state to 16 bits before it multiplies by a 16-bit matrix
        assert logits == pytest.approx(rebuilt, abs=1e-3 * np.abs(rebuilt).max())

    @pytest.mark.parametrize("text", [TEXT, "", "a", "no newline\n\n\n"], ids=len)
    def test_pieces_of_a_text_add_up_to_it(self, served: Served, text: str) -> None:
        ids, piece_bytes = served.runtime.tokenize(text)

        assert ids.dtype == piece_bytes.dtype == np.int32
        assert ids.shape == piece_bytes.shape
        assert (ids[0], piece_bytes[0]) == (served.facts.bos, 0)
        assert ids.min() >= 0
        assert ids.max() < served.facts.n_vocab
        # SentencePiece puts a space before the text
        assert piece_bytes.sum() - len(text.encode()) in (0, 1)

    def test_special_tokens_in_a_text_are_text(self, served: Served) -> None:
        ids, _ = served.runtime.tokenize("<s></s>")

        assert len(ids) > 3
        assert (ids[1:] != served.facts.bos).all()

    def test_its_own_text_follows_its_own_distribution(self, served: Served) -> None:
        draws = np.concatenate(
            [served.sample(sequences=200, tokens=3, seed=seed)[:, 1:] for seed in range(10)]
        )
        common = int(np.bincount(draws[:, 0]).argmax())
        begin = served.facts.first_token

        first = [begin], draws[:, 0]
        second = [begin, common], draws[draws[:, 0] == common][:, 1]
        for before, drawn in (first, second):
            logits = served.logits(np.array(before, dtype=np.int32), len(before) - 1)
            expected = softmax(logits[0].astype(np.float64)) * len(drawn)
            often = expected > 5
            observed = np.bincount(drawn, minlength=len(expected))
            counts = np.append(observed[often], observed[~often].sum())
            wanted = np.append(expected[often], expected[~often].sum())
            keep = wanted > 1
            assert counts[~keep].sum() <= 5
            scale = counts[keep].sum() / wanted[keep].sum()
            assert chisquare(counts[keep], wanted[keep] * scale).pvalue > 1e-3
