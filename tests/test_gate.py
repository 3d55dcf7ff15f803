"""Artifacts against a reference, and the account of what was measured and what was not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.errors import ArtifactError, MeasurementError
from qgate.gate import Ledger, Measured, Serving, Subject, judge_row, measure_divergence, overall
from qgate.records import Artifact, Estimate, Limit, Record, SourceLine, Verdict
from qgate.runtimes.host import Host, HostSettings
from tests.conftest import Toy
from tests.measuring import make_plan, measure

Toys = Callable[..., Path]
PASS, FAIL, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.ERROR
INCONCLUSIVE, SKIPPED, INCOMPLETE = Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.INCOMPLETE
SEVERITY = [ERROR, FAIL, INCOMPLETE, INCONCLUSIVE, PASS]


def artifact(name: str = "a") -> Artifact:
    path = Path(f"{name}.gguf")
    return Artifact(
        id=name,
        path=path,
        format="gguf",
        scheme="Q4_K_M",
        size_bytes=1,
        files=(path,),
        is_quantized=True,
    )


def record(name: str, verdict: Verdict, estimate: Estimate | None = None) -> Record:
    return Record(name=name, verdict=verdict, message=f"{name}: said", estimate=estimate)


def estimate(value: float = 0.1, level: float = 0.95) -> Estimate:
    return Estimate(
        value=value,
        low=value - 0.01,
        high=value + 0.01,
        level=level,
        n=10,
        unit="nats",
        method="t",
    )


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_worst_verdict_is_the_verdict_of_all(count: int) -> None:
    for verdicts in itertools.product(Verdict, repeat=count):
        judged = [verdict for verdict in verdicts if verdict is not SKIPPED]
        worst = min(judged, key=SEVERITY.index, default=INCOMPLETE)
        assert overall(iter(verdicts)) is worst, verdicts


def test_all_rows_passed_is_a_pass() -> None:
    ledger = Ledger([artifact()])
    for name in ("x.one", "x.two"):
        ledger.expect("a", name)
        ledger.enter("a", record(name, PASS))

    report = ledger.report({}, {})

    assert (report.verdict, report.artifacts[0].verdict) == (PASS, PASS)
    assert ledger.missing() == []


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ([PASS], INCOMPLETE),
        ([], INCOMPLETE),
        ([SKIPPED], INCOMPLETE),
        ([INCONCLUSIVE], INCOMPLETE),
        ([FAIL], FAIL),
        ([ERROR], ERROR),
    ],
)
def test_a_missing_row_is_never_a_pass(others: list[Verdict], wanted: Verdict) -> None:
    ledger = Ledger([artifact()])
    for number, verdict in enumerate(others):
        ledger.enter("a", record(f"x.{number}", verdict))
    ledger.expect("a", "x.lost")

    report = ledger.report({}, {})

    assert ledger.missing() == [("a", "x.lost")]
    assert (report.verdict, report.artifacts[0].verdict) == (wanted, wanted)
    lost = report.artifacts[0].records[-1]
    assert (lost.name, lost.verdict) == ("x.lost", INCOMPLETE)
    assert lost.message == (
        "x.lost: not measured in this run: deselected, or the run ended before it"
    )


@pytest.mark.parametrize("rows", [[], [SKIPPED], [SKIPPED, SKIPPED]])
def test_nothing_judged_is_never_a_pass(rows: list[Verdict]) -> None:
    ledger = Ledger([artifact()])
    for number, verdict in enumerate(rows):
        ledger.enter("a", record(f"x.{number}", verdict, estimate()))

    assert ledger.report({}, {}).verdict is INCOMPLETE


def test_no_artifact_is_never_a_pass() -> None:
    assert Ledger([]).report({}, {}).verdict is INCOMPLETE


def test_one_artifact_without_rows_spoils_the_run() -> None:
    ledger = Ledger([artifact("good"), artifact("forgotten")])
    ledger.enter("good", record("x.one", PASS))

    report = ledger.report({}, {})

    assert [one.verdict for one in report.artifacts] == [PASS, INCOMPLETE]
    assert report.verdict is INCOMPLETE


def test_a_skipped_row_beside_a_pass_leaves_the_pass_and_is_told() -> None:
    ledger = Ledger([artifact()])
    ledger.enter("a", record("x.one", PASS))
    ledger.enter("a", record("x.shown", SKIPPED, estimate()))
    ledger.enter("a", record("x.absent", SKIPPED))

    assert ledger.report({}, {}).verdict is PASS
    assert ledger.skipped() == [("a", "x.absent")]


def test_a_row_that_is_entered_twice_counts_once_with_its_last_word() -> None:
    ledger = Ledger([artifact()])
    ledger.expect("a", "x.one")
    ledger.expect("a", "x.one")
    ledger.enter("a", record("x.one", PASS), Subject(digest="sha256:1", measured={"s": 1.0}))
    ledger.enter("a", record("x.one", FAIL))

    [found] = ledger.report({}, {}).artifacts

    assert [row.verdict for row in found.records] == [FAIL]
    assert (found.digest, found.measured) == ("sha256:1", {"s": 1.0})


def test_a_row_without_a_limit_is_shown_and_not_judged() -> None:
    found = judge_row("divergence.kl_mean", None, lambda level: estimate(level=level), {"a": 1})

    assert found.verdict is SKIPPED
    assert found.message == "divergence.kl_mean: measured, but no limit applies to it"
    assert found.estimate == estimate(level=0.95)
    assert found.details == {"a": 1}


def test_a_row_is_estimated_at_its_limits_own_level() -> None:
    limit = Limit(
        check="divergence.kl_mean",
        rule="certify",
        source=SourceLine("limits.yaml", 3),
        max=0.2,
        level=0.99,
    )

    found = judge_row("divergence.kl_mean", limit, lambda level: estimate(level=level), {})

    assert found.verdict is PASS
    assert found.estimate is not None
    assert found.estimate.level == 0.99
    assert found.limit is limit


def serve(path: Path, host: type[Host] = Host) -> Serving:
    [found] = list(discover([path]))
    return Serving(found, lambda: host(HostSettings(runtime="fake", stall_s=30.0)))


def divergence(path: Path, store: Path, host: type[Host] = Host) -> Measured:
    reference, _ = measure(store, make_plan(path.parent / "original.gguf"))
    serving = serve(path, host)
    try:
        return measure_divergence(serving, reference)
    finally:
        serving.close()


def test_an_equal_model_does_not_diverge(toys: Toys, tmp_path: Path) -> None:
    found = divergence(toys(same=Toy()) / "same.gguf", tmp_path / "store")

    samples = found.samples
    assert samples.nll_nats.tobytes() == samples.reference_nll_nats.tobytes()
    assert np.abs(samples.kl_nats).max() < 1e-4
    assert samples.same_top.all()
    assert found.runtime.name == "fake"
    assert found.to_json()["scored_tokens"] == 6 * 31


def test_a_damaged_model_diverges(toys: Toys, tmp_path: Path) -> None:
    found = divergence(toys(bad=Toy(noise=0.3)) / "bad.gguf", tmp_path / "store")

    assert found.samples.kl_nats.mean() > 0.01
    assert not found.samples.same_top.all()


class Elsewhere(Host):
    """A runtime that answers for windows that nobody sent."""

    def call(self, verb: str, **args: Any) -> dict[str, Any]:
        if verb == "score":
            args["windows"] = np.roll(args["windows"], 1, axis=1)
        return super().call(verb, **args)


class Forgetful(Host):
    """A runtime that loses its last window."""

    def call(self, verb: str, **args: Any) -> dict[str, Any]:
        if verb == "score":
            args["windows"] = args["windows"][:-1]
        return super().call(verb, **args)


class Shortening(Host):
    """A runtime that loses one token, and says nothing of it."""

    def call(self, verb: str, **args: Any) -> dict[str, Any]:
        found = super().call(verb, **args)
        if verb == "score":
            found["nll_nats"] = found["nll_nats"][:-1]
        return found


@pytest.mark.parametrize(
    ("host", "line"),
    [
        (Elsewhere, "got 6 windows; expected the 6 that were sent"),
        (Forgetful, "got 5 windows; expected the 6 that were sent"),
    ],
)
def test_a_runtime_that_scores_other_windows_is_refused(
    toys: Toys, tmp_path: Path, host: type[Host], line: str
) -> None:
    with pytest.raises(MeasurementError) as caught:
        divergence(toys(same=Toy()) / "same.gguf", tmp_path / "store", host)

    assert str(caught.value) == (
        f"same: the runtime scored other tokens than the reference's: {line}"
    )


def test_a_lost_token_is_refused(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"^lost samples: got 185 scored tokens; .* 186$"):
        divergence(toys(same=Toy()) / "same.gguf", tmp_path / "store", Shortening)


def test_another_vocabulary_is_refused(toys: Toys, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"^big: vocabulary differs .* got 128 tokens"):
        divergence(toys(big=Toy(vocabulary=128)) / "big.gguf", tmp_path / "store")


def test_a_child_starts_when_it_is_first_asked_and_no_sooner() -> None:
    started = []

    def start() -> Host:
        started.append(True)
        return Host(HostSettings(runtime="fake"))

    serving = Serving(artifact(), start)
    serving.close()
    assert started == []
    assert serving.describe() == serving.describe()
    assert started == [True]
    serving.close()
    serving.close()
