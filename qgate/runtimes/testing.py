"""The contract suite for authors of runtimes: what each promises, asked of its real child process.

In the tests of the package that brings the runtime, which has to be installed:

    @pytest.fixture(scope="module")
    def served():
        with qgate.runtimes.testing.serve("mine", Path("models/tiny")) as child:
            yield child

    class TestMine(qgate.runtimes.testing.RuntimeContract):
        pass

What a runtime does not do is not asked of it: likelihoods where its `ModelFacts.scoring` is `none`,
memory where its `RuntimeSpec.unmeasured` has it.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.artifacts.digest import window_digests
from qgate.errors import ArtifactError
from qgate.runtimes import find_spec
from qgate.runtimes.base import LoadSettings, Prompt, Sampling, Span
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import Batch, Texts, TimedRequest
from qgate.runtimes.verbs import (
    ANSWER,
    DESCRIBE,
    ENCODE,
    FILL_CONTEXT,
    LOAD,
    SAMPLE,
    SCORE,
    SCORE_SPANS,
    TIME,
)
from qgate.runtimes.worker.scoring import ScoreRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.messages import Answers

WINDOWS, TOKENS = 6, 96
HALF = TOKENS // 2
ANSWER_TOKENS = 12
_TEXTS = ("Once upon a time", "Tschüß, 世界! 🙂\n\n", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedChild:
    """A real child with its model loaded."""

    host: Host
    path: Path
    facts: ModelFacts
    near_nats: float = 0.0
    """What other sequences in the same call may move one token's likelihood by; 0: no bit."""

    def windows(self, count: int = WINDOWS) -> np.ndarray:
        """Drawn token ids, shape (count, `TOKENS`), int32."""
        drawn = np.random.default_rng(0).integers(5, self.facts.n_vocab, (count, TOKENS))
        return drawn.astype(np.int32)

    def score(self, windows: np.ndarray) -> np.ndarray:
        """The tokens' likelihoods in the second half of each window, shape (windows, scored)."""
        if self.facts.scoring == "none":
            pytest.skip("it gives no likelihoods")
        request = ScoreRequest(windows=windows, first=HALF)
        scored = SCORE.ask(self.host, request)
        assert scored.nll_nats is not None
        assert scored.nll_nats.dtype == np.float64
        assert list(scored.digests) == window_digests(windows)
        return scored.nll_nats.reshape(len(windows), TOKENS - 1 - HALF)

    def answer(self, prompts: Sequence[np.ndarray]) -> Answers:
        """Greedy answers of at most `ANSWER_TOKENS`."""
        asked = tuple(Prompt(ids=ids, max_tokens=ANSWER_TOKENS) for ids in prompts)
        return ANSWER.ask(self.host, Batch(prompts=asked, batch_size=1))

    def is_near(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Whether these are the same numbers, as far as this runtime's calls are alike."""
        return one.shape == other.shape and bool((np.abs(one - other) <= self.near_nats).all())


@contextlib.contextmanager
def serve(
    runtime: str,
    path: Path,
    *,
    python: str = sys.executable,
    options: Mapping[str, Any] | None = None,
    near_nats: float = 0.0,
) -> Iterator[ServedChild]:
    """A model in a child of a runtime.

    Args:
        runtime: its name; the package that brings it is installed.
        path: a small model, which it loads in seconds.
        python: the interpreter that it runs under.
        options: what a thresholds file would set under `runtimes`.
        near_nats: see `ServedChild`.
    """
    settings = HostSettings(runtime=runtime, python=python, variables=find_spec(runtime).variables)
    with Host(settings) as host:
        facts = LOAD.ask(host, _settings(path, options))
        yield ServedChild(host=host, path=path, facts=facts, near_nats=near_nats)


def _settings(path: Path, options: Mapping[str, Any] | None = None) -> LoadSettings:
    return LoadSettings(
        path=str(path.absolute()), window_tokens=TOKENS, threads=1, options=dict(options or {})
    )


class RuntimeContract:
    """A class for pytest; the module of a subclass has the fixture `served`."""

    def test_it_describes_itself_and_the_model(self, served: ServedChild) -> None:
        found, facts = DESCRIBE.ask(served.host, None), served.facts

        assert found == DESCRIBE.ask(served.host, None)
        assert all((found.name, found.version, found.device))
        assert 0 <= facts.first_token < facts.n_vocab
        assert not facts.adds_bos or facts.bos == facts.first_token
        assert all(0 <= token < facts.n_vocab for token in facts.end_tokens)

    def test_a_text_that_begins_has_the_first_token_and_no_other_has(
        self, served: ServedChild
    ) -> None:
        begun, followed = (
            ENCODE.ask(served.host, Texts(texts=_TEXTS, begins=begins)) for begins in (True, False)
        )

        assert len(begun) == len(followed) == len(_TEXTS)
        if served.facts.adds_bos:
            assert {int(ids[0]) for ids in begun} == {served.facts.bos}
        assert all(served.facts.bos not in ids for ids in followed)
        assert all(ids.max(initial=0) < served.facts.n_vocab for ids in (*begun, *followed))

    def test_as_many_likelihoods_as_were_asked_for_in_their_order(
        self, served: ServedChild
    ) -> None:
        windows = served.windows()

        rows = served.score(windows)

        assert np.isfinite(rows).all()
        assert served.is_near(served.score(windows[::-1])[::-1], rows)
        assert not served.is_near(rows[0], rows[1])

    def test_a_batch_of_one_is_as_many(self, served: ServedChild) -> None:
        windows = served.windows()
        together = served.score(windows)

        alone = [served.score(windows[number : number + 1]) for number in range(WINDOWS)]

        assert served.is_near(np.concatenate(alone), together)

    def test_the_same_ids_have_the_same_likelihood_whichever_way_they_are_asked(
        self, served: ServedChild
    ) -> None:
        windows = served.windows(3)
        whole = served.score(windows)

        spans = SCORE_SPANS.ask(served.host, [Span(ids=ids, first=HALF) for ids in windows])

        # llama.cpp picks kernels by the tokens of a call, and these round differently
        assert np.stack(spans.nll_nats) == pytest.approx(whole, abs=0.02)

    def test_the_seed_decides_the_text_that_it_writes(self, served: ServedChild) -> None:
        if served.facts.scoring == "none":
            pytest.skip("it writes no text to be scored")

        once, again, other = (
            SAMPLE.ask(served.host, Sampling(sequences=3, tokens=TOKENS, seed=seed)).ids
            for seed in (11, 11, 12)
        )

        assert once.shape == (3, TOKENS)
        assert len({row.tobytes() for row in once}) == 3
        assert once.min() >= 0
        assert once.max() < served.facts.n_vocab
        assert (once[:, 0] == served.facts.first_token).all()
        assert again.tobytes() == once.tobytes()
        assert (other != once).mean() > 0.5

    def test_greedy_answers_repeat_themselves_one_for_each_prompt(
        self, served: ServedChild
    ) -> None:
        prompts = [window[: 8 + number] for number, window in enumerate(served.windows())]

        once, again = served.answer(prompts), served.answer(prompts)

        assert len(once.ids) == len(once.texts) == len(once.ends) == len(prompts)
        assert [ids.tolist() for ids in again.ids] == [ids.tolist() for ids in once.ids]
        assert (again.texts, again.ends.tolist()) == (once.texts, once.ends.tolist())
        assert all(len(ids) <= ANSWER_TOKENS for ids in once.ids)

    def test_a_timed_request_gives_as_many_tokens_as_were_asked_for(
        self, served: ServedChild
    ) -> None:
        at_s = TIME.ask(served.host, TimedRequest(ids=served.windows(1)[0], count=5))

        assert at_s.shape == (5,)
        assert at_s[0] > 0.0
        assert (np.diff(at_s) > 0.0).all()

    def test_memory_is_what_it_says_that_it_allocates(self, served: ServedChild) -> None:
        if "memory" in find_spec(served.host.runtime).unmeasured:
            pytest.skip("it measures no memory")

        buffers = FILL_CONTEXT.ask(served.host, TOKENS).buffers

        assert buffers.context_tokens >= TOKENS
        assert buffers.weights_bytes > 0
        assert buffers.kv_cache_bytes > 0

    def test_a_file_that_is_cut_short_is_the_artifacts_fault_in_one_line(
        self, served: ServedChild, tmp_path: Path
    ) -> None:
        """The last test: no model is loaded after it."""
        if find_spec(served.host.runtime).is_remote:
            pytest.skip("a server has loaded its model before")
        cut = cut_short(served.path, tmp_path)
        with pytest.raises(ArtifactError) as caught:
            LOAD.ask(served.host, _settings(cut))

        assert "\n" not in str(caught.value)


def cut_short(path: Path, directory: Path) -> Path:
    """A copy of a model whose weights end too early."""
    if path.is_dir():
        copy = directory / "cut"
        shutil.copytree(path, copy)
        weights = copy / "model.safetensors"
    else:
        weights = copy = directory / f"cut{path.suffix}"
        shutil.copy(path, copy)
    weights.write_bytes(weights.read_bytes()[:-1000])
    return copy
