"""A small report with a pass, a fail, an error and an inconclusive row."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Literal

import pytest

from qgate.records import (
    ArtifactReport,
    Estimate,
    Limit,
    Record,
    Report,
    RuntimeFacts,
    SourceLine,
    Verdict,
)
from qgate.report.report_file import read_report, write
from tests.report.full_report import full_report, mixed_report

if TYPE_CHECKING:
    from pathlib import Path

EDGES_NATS = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def report_of(report_json: dict[str, Any]) -> Report:
    """The report that a changed JSON is."""
    return read_report(json.loads(json.dumps(report_json)), "report")


def make_record(name: str, verdict: Verdict, numbers: tuple[float, ...], **bounds: float) -> Record:
    value, low, high = numbers
    unit = {"perplexity": "perplexity", "divergence": "nats"}[name.partition(".")[0]]
    if name == "divergence.same_top":
        unit = "fraction"
    rule: Literal["certify"] = "certify"
    limit = Limit(check=name, rule=rule, source=SourceLine("thresholds/default.yaml", 14), **bounds)
    details: dict[str, Any] = {}
    if name == "divergence.kl_mean":
        counts = [900, 2000, 4000, 2500, 300]
        histogram = {"edges_nats": EDGES_NATS, "counts": counts, "below": 200, "above": 100}
        details["kl_histogram"] = histogram
    return Record(
        name=name,
        verdict=verdict,
        message=f"{name}: {value} against {bounds} ({limit.source})",
        estimate=Estimate(
            value=value, low=low, high=high, level=0.95, n=16320, unit=unit, method="t"
        ),
        limit=limit,
        details=details,
    )


def make_artifact(
    identifier: str, scheme: str, size_bytes: int, verdict: Verdict, *records: Record
) -> ArtifactReport:
    return ArtifactReport(
        id=identifier,
        path=f"models/{identifier}.gguf",
        format="gguf",
        scheme=scheme,
        size_bytes=size_bytes,
        verdict=verdict,
        records=records,
        digest=f"sha256:{size_bytes:064x}",
        runtime=RuntimeFacts(name="llama_cpp", version="0.3.36", device="cpu", build="AVX2"),
        measured={"scoring_s": 12.5},
    )


@pytest.fixture
def report() -> Report:
    """Three artifacts: one holds, one fails and cannot tell, one could not be measured."""
    good = make_artifact(
        "qgate-demo-Q8_0",
        "Q8_0",
        7_400_000,
        Verdict.PASS,
        make_record("perplexity.increase", Verdict.PASS, (0.0081, 0.0066, 0.0097), max=0.5),
        make_record("divergence.kl_mean", Verdict.PASS, (0.0012, 0.0011, 0.0013), max=0.05),
        make_record("divergence.same_top", Verdict.PASS, (0.9912, 0.9895, 0.9926), min=0.9),
    )
    bad = make_artifact(
        "qgate-demo-Q2_K",
        "Q2_K",
        2_600_000,
        Verdict.FAIL,
        make_record("perplexity.increase", Verdict.FAIL, (0.81, 0.66, 0.97), max=0.5),
        make_record("divergence.kl_mean", Verdict.FAIL, (0.121, 0.115, 0.127), max=0.05),
        make_record("divergence.kl_p99", Verdict.FAIL, (0.71, 0.65, 0.77), max=0.4),
        make_record("divergence.same_top", Verdict.INCONCLUSIVE, (0.9, 0.89, 0.91), min=0.9),
    )
    message = "runtime llama_cpp: the child ended: got signal 11; expected a result."
    crashed = make_artifact(
        "broken-Q4_0",
        "Q4_0",
        4_100_000,
        Verdict.ERROR,
        Record(name="perplexity.increase", verdict=Verdict.ERROR, message=message),
        Record(
            name="divergence.kl_p99", verdict=Verdict.SKIPPED, message="divergence.kl_p99: no limit"
        ),
    )
    return Report(
        verdict=Verdict.ERROR,
        environment={
            "session_id": "6a1c2d3e-0000-4000-8000-000000000001",
            "started_at": "2026-11-23T10:00:00+00:00",
            "ended_at": "2026-11-23T10:05:00+00:00",
            "qgate": "0.1.0",
            "git": {
                "commit": "0123456789abcdef0123456789abcdef01234567",
                "branch": "main",
                "dirty": False,
                "remote": "https://github.com/example/models",
            },
            "ci": {"name": "github", "run_url": "https://github.com/x/y/actions/runs/7"},
        },
        reference={
            "id": "qgate-demo-F16",
            "path": "models/qgate-demo-F16.gguf",
            "scheme": "F16",
            "size_bytes": 13_900_000,
            "digest": "sha256:" + "ab" * 32,
            "perplexity": {"value": 4.2134, "n": 16320},
            "text": {"name": "self-generated", "digest": "sha256:" + "cd" * 32, "seed": 1},
            "window": {"tokens": 512, "windows": 64},
        },
        artifacts=(good, bad, crashed),
        thresholds={
            "files": [{"path": "thresholds/default.yaml", "digest": "sha256:" + "ef" * 32}]
        },
    )


@pytest.fixture
def passing(report: Report) -> Report:
    """Only the artifact that holds."""
    return Report(
        verdict=Verdict.PASS,
        environment=report.environment,
        reference=report.reference,
        artifacts=report.artifacts[:1],
        thresholds=report.thresholds,
    )


@pytest.fixture(name="path")
def report_path(report: Report, tmp_path: Path) -> Path:
    """The report on disk."""
    path = tmp_path / "with space" / "report.json"
    write(report, path)
    return path


@pytest.fixture
def full() -> Report:
    """Every row of the checklist, of an artifact that holds and of one that is damaged."""
    return full_report()


@pytest.fixture
def mixed() -> dict[str, Any]:
    """Artifacts in several runtimes, of which a test may change what it likes."""
    return copy.deepcopy(mixed_report().to_json())
