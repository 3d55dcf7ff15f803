"""The reference in two runtimes: the same windows, each artifact against the one it belongs to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.errors import ArtifactError, QGateError
from qgate.gate.measurer import Measurer
from qgate.gate.processes import RunSettings
from qgate.planning.plan import plan_models
from qgate.thresholds import Thresholds
from tests.conftest import Toy
from tests.support.references import SETTINGS

Toys = Callable[..., Path]
Planted = Callable[[str], str]

OTHER = """
import dataclasses
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def describe(self):
        return dataclasses.replace(super().describe(), name="planted")
    def load(self, settings):
        facts = super().load(settings)
        self._output = self._output * 1.01
        return facts
"""
OTHER_IDS = (
    OTHER
    + """
    def encode(self, text, *, begins):
        ids = super().encode(text, begins=begins)
        return ids[:-1] if "naïve" in text else ids
"""
)


@pytest.fixture
def measurer(toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measurer]:
    """Artifacts `a` and `b` in the fake runtime; the reference of `b` is in the planted one."""
    monkeypatch.syspath_prepend(tmp_path / "plugins")  # this process reads the specs of runtimes
    found = {artifact.id: artifact for artifact in discover([toys(a=Toy(), b=Toy())])}
    models, thresholds = [found["a"], found["b"]], Thresholds(text=SETTINGS)
    plan = plan_models(models, found["original"], thresholds, tmp_path, runtime="fake")
    a, b = plan.artifacts
    plan = replace(plan, artifacts=(a, replace(b, reference_runtime="planted")))
    progress = lambda _: contextlib.nullcontext(lambda *_: None)  # noqa: E731
    measurer = Measurer(RunSettings(plan=plan, probes=tuple, progress=progress))
    servings = [measurer.children.serve(found[name]) for name in ("a", "b")]
    yield measurer
    for serving in servings:
        serving.close()
    measurer.children.close()


def of(measurer: Measurer, name: str) -> Any:
    return measurer.children._servings[name]


def test_both_runtimes_score_the_windows_that_were_cut_at_home(
    planted: Planted, measurer: Measurer
) -> None:
    planted(OTHER)
    there, home = measurer.reference(of(measurer, "b")), measurer.reference(of(measurer, "a"))

    assert (there.runtime.name, home.runtime.name) == ("planted", "fake")
    assert np.array_equal(there.windows.ids, home.windows.ids)
    assert not np.array_equal(there.nll_nats, home.nll_nats)


def test_the_report_tells_what_the_runtimes_differ_by(planted: Planted, measurer: Measurer) -> None:
    planted(OTHER)
    for name in ("a", "b"):
        measurer.divergence(of(measurer, name))
    subject = measurer.subject(of(measurer, "b").artifact)

    assert subject.compared_with == {"runtime": "planted"}
    reference = subject.reference
    (elsewhere,) = reference["elsewhere"]
    ratio = elsewhere["perplexity"]["value"] / reference["perplexity"]["value"]
    assert elsewhere["runtime"]["name"] == "planted"
    assert elsewhere["runtime_difference"]["value"] == pytest.approx(ratio, rel=1e-9)
    assert elsewhere["runtime_difference"]["low"] < elsewhere["runtime_difference"]["high"]
    assert "runtime_difference" not in reference


def test_a_second_run_finds_both_in_the_store(planted: Planted, measurer: Measurer) -> None:
    planted(OTHER)
    first = measurer.reference(of(measurer, "b"))
    measurer._memo._found.clear()
    again = measurer.reference(of(measurer, "b"))

    assert (first.was_stored, again.was_stored) == (False, True)
    assert np.array_equal(first.nll_nats, again.nll_nats)


@pytest.mark.parametrize(
    ("where", "told"),
    [("naïve", "'Straße, naïve"), ("A\\nB", "'!\\n\"\\n#")],
    ids=["words", "letters"],
)
def test_runtimes_that_read_a_text_differently_are_refused(
    planted: Planted, measurer: Measurer, where: str, told: str
) -> None:
    planted(OTHER_IDS.replace("naïve", where))
    with pytest.raises(ArtifactError) as caught:
        measurer.divergence(of(measurer, "b"))

    assert f"b: token ids differ between runtimes: {told}" in str(caught.value)
    assert "in fake; expected" in str(caught.value)
    assert "as in planted. Serve both in one runtime with --qgate-runtime" in str(caught.value)


def test_a_reference_that_cannot_be_asked_for_ids_is_named(
    planted: Planted, measurer: Measurer
) -> None:
    planted(OTHER_IDS.replace("return ids[:-1] if", "assert not").replace(" else ids", ""))
    with pytest.raises(QGateError) as caught:
        measurer.differing_ids(of(measurer, "b"))

    assert str(caught.value).startswith("reference original: ")


def test_within_one_runtime_no_text_is_compared(planted: Planted, measurer: Measurer) -> None:
    planted(OTHER_IDS)
    assert len(measurer.divergence(of(measurer, "a")).samples.nll_nats) > 0


def test_what_was_timed_beside_several_artifacts_does_not_hang_on_the_last(
    measurer: Measurer,
) -> None:
    measurer.reference(of(measurer, "a"))
    artifact = of(measurer, "a").artifact
    for tps in (100.0, 300.0, 120.0):
        measurer.references.record_summary(artifact, {"output_tps": tps})
    measurer.references.record_summary(artifact, {"weights_bytes": 5.0})

    measured = measurer.references.describe()["measured"]
    assert (measured["output_tps"], measured["weights_bytes"]) == (120.0, 5.0)
