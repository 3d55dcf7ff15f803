"""What a runtime without logits loses, or says though it cannot be, is refused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.worker.logprob_scoring import TopKScorer
from tests.conftest import Toy, write_toy
from tests.runtimes.worker.logprob_runtimes import TopKFake
from tests.runtimes.worker.reference_and_artifact import (
    TOKENS,
    VOCABULARY,
    WINDOWS,
    Scene,
    loaded,
    silent,
    with_logits,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.runtimes.base import Span
    from qgate.runtimes.worker import prompt_logprobs as top_k


def changed(**fields: Callable[[Any], Any]) -> type[TopKFake]:
    class Changed(TopKFake):
        def _read(self, span: Span, top: int, named: Any) -> top_k.Reading:
            reading = super()._read(span, top, named)
            new = {name: change(getattr(reading, name)) for name, change in fields.items()}
            return dataclasses.replace(reading, **new)

    return Changed


def _put(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def put(array: np.ndarray) -> np.ndarray:
        array[4] = value
        return array

    return put


WRONG = [
    ({"logprobs": lambda array: array[1:]}, "lost samples: got log-probabilities of shape"),
    ({"top_ids": lambda array: array[:, 1:]}, "lost samples: got log-probabilities of shape"),
    ({"logprobs": _put(np.nan)}, "log-probabilities are not finite: position 24"),
    ({"logprobs": _put(-np.inf)}, "log-probabilities are not finite: position 24"),
    ({"top_logprobs": _put(np.nan)}, "log-probabilities are not finite among the likeliest"),
    ({"logprobs": _put(0.5)}, "cannot be true: got a log-probability of 0.5; expected at most 0"),
    ({"logprobs": _put(-1e-9)}, "got a token more likely than the likeliest; expected none"),
    ({"top_logprobs": lambda array: array[:, ::-1]}, "got likeliest tokens out of order"),
    ({"top_logprobs": lambda array: array * 0.0}, "got likeliest tokens of mass 128"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_log_probabilities_that_cannot_be_are_refused(
    scene: Scene, fields: dict[str, Any], message: str
) -> None:
    runtime = loaded(changed(**fields)(), scene.reference)

    with pytest.raises(MeasurementError) as caught:
        TopKScorer(runtime, VOCABULARY, scene.request(scene.stored("top_k"))).score(silent)

    assert message in str(caught.value)


@pytest.mark.parametrize("lost", [0, 1, WINDOWS])
def test_a_lost_window_is_noticed(scene: Scene, lost: int) -> None:
    class Losing(TopKFake):
        def read_prompts(self, spans: Any, top: int, named: Any = None) -> Any:
            yield from list(super().read_prompts(spans, top, named))[lost:]

    runtime = loaded(Losing(), scene.reference)
    scorer = TopKScorer(runtime, VOCABULARY, scene.request(None))
    if lost == 0:
        assert len(scorer.score(silent)["nll_nats"]) == WINDOWS * (TOKENS // 2 - 1)
        return
    with pytest.raises(MeasurementError, match=f"got readings of {WINDOWS - lost} sequences"):
        scorer.score(silent)


def test_named_tokens_that_are_not_told_are_refused(scene: Scene) -> None:
    stored = scene.stored("top_k")
    kept = without(scene.reference, scene.request(stored))
    runtime = loaded(
        changed(named_logprobs=lambda array: array[:, 1:])(reads_named=True), scene.artifact
    )

    with pytest.raises(MeasurementError, match="lost samples: got log-probabilities of"):
        TopKScorer(runtime, VOCABULARY, scene.request(stored, kept)).score(silent)


def test_a_reference_that_says_nothing_is_refused(tmp_path: Path, scene: Scene) -> None:
    flat = write_toy(
        tmp_path / "flat.gguf", Toy(scheme="F32", vocabulary=VOCABULARY, fault="constant:score")
    )

    with pytest.raises(MeasurementError, match="the reference says nothing"):
        without(flat, scene.request(scene.stored("top_k")))


def test_a_store_that_is_too_short_is_refused(scene: Scene) -> None:
    stored = scene.stored("top_k")
    kept = without(scene.reference, scene.request(stored))
    more = dataclasses.replace(scene, windows=np.tile(scene.windows, (2, 1)))

    for scored in (without, with_logits):
        with pytest.raises(MeasurementError, match="Delete the store to have it measured again"):
            scored(scene.artifact, more.request(stored, kept))
