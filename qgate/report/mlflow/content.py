r"""What MLflow is told: a report turned into parameters, metrics and tags that it accepts.

Pure, and without mlflow. Parameters say what was asked, metrics what was measured, tags where it
comes from and what the gate said. MLflow's bounds (utils/validation.py, 3.17): keys of 250
characters out of `[\\w./\\- :]`, parameters of 6 000, tags of 8 000, dataset digests of 36; an
infinite metric is stored as 1.8e308 without a word, so none is ever passed on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qgate.errors import UsageError
from qgate.records import Verdict
from qgate.report.table import render_artifact_markdown, render_markdown
from qgate.report.text import cut_lines, escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.records import ArtifactReport, Record, Report

_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_EXPERIMENT_LENGTH = 500
_DATASET_DIGEST_LENGTH = 36
_MOST_PARAMS = 40
_NOTE = "mlflow.note.content"
"""The one text with lines; it is escaped where it is rendered."""
_CUT_NOTE = "\n\nCut here: the whole table is in the artifact report.json."


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """One MLflow run, ready to be sent."""

    name: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    is_measured: bool
    """False where rows are errors or missing: MLflow's status FAILED, whatever the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetContent:
    """The text that both sides were measured on."""

    name: str
    digest: str
    source: str


def get_session_id(report: Report) -> str:
    """Return what makes an upload repeatable.

    Raises:
        UsageError: the report has none, or one that a query could not hold.
    """
    session_id = report.environment.get("session_id")
    if not isinstance(session_id, str) or not re.fullmatch(r"[\w-]{1,64}", session_id):
        raise UsageError(
            f"report: environment.session_id: got {session_id!r:.80}; expected 1 to 64 letters, "
            "digits, _ or -. Without it an upload could be logged twice."
        )
    return session_id


def get_time_ms(report: Report, name: str) -> int:
    """Return a time of the run, `started_at` or `ended_at`; 0 where unknown.

    Not the time of the upload: a metric sent again must be the same point, not a second one.
    """
    try:
        time = datetime.fromisoformat(str(report.environment.get(name)))
        return max(0, int(time.timestamp() * 1000))
    except (ValueError, OverflowError):
        return 0


def name_experiment(report: Report) -> str:
    """Return `qgate/<reference id>`: one experiment per reference, not per commit."""
    reference_id = escape_line(str(report.reference.get("id") or "no reference"))
    return f"qgate/{reference_id}"[:_EXPERIMENT_LENGTH]


def make_parent(report: Report) -> RunContent:
    """Describe the invocation as a whole."""
    environment, artifacts = report.environment, report.artifacts
    commit = (_section(environment, "git").get("commit") or "")[:7]
    number = _section(environment, "ci").get("run_number")
    started = environment.get("started_at")
    words = ("qgate", commit or started, f"#{number}" if number else None)
    counts = {
        f"qgate.artifacts.{verdict.value}": sum(item.verdict is verdict for item in artifacts)
        for verdict in Verdict
        if verdict is not Verdict.SKIPPED
    }
    metrics = {"qgate.passed": report.verdict is Verdict.PASS, **counts}
    return RunContent(
        name=" ".join(str(word) for word in words if word),
        params=_clean_params(_describe_request(report)),
        metrics=_clean_metrics(metrics),
        tags=_clean_tags(
            {
                **_describe_source(report),
                "qgate.role": "invocation",
                "qgate.verdict": report.verdict.value,
                _NOTE: _cut_note(render_markdown(report)),
            }
        ),
        is_measured=bool(artifacts) and all(map(_is_measured, artifacts)),
    )


def get_artifact_tag(artifact: ArtifactReport) -> str:
    """Return what tells an artifact's run from those beside it."""
    return escape_line(artifact.id)[:_TAG_LENGTH]


def make_child(report: Report, artifact: ArtifactReport, parent_run_id: str) -> RunContent:
    """Describe one artifact."""
    records, runtime = artifact.records, artifact.runtime
    levels = sorted({record.estimate.level for record in records if record.estimate})
    asked = {
        "scheme": artifact.scheme,
        "quantization": artifact.quantization,
        "format": artifact.format,
        "runtime": dataclasses.asdict(runtime) if runtime else None,
        "compared_with": artifact.compared_with,
        "level": ", ".join(map(str, levels)) or None,
        **_describe_request(report),
    }
    metrics = {
        "qgate.passed": artifact.verdict is Verdict.PASS,
        "artifact.size_bytes": artifact.size_bytes,
        **{f"measured.{name}": value for name, value in artifact.measured.items()},
    }
    for record in records:
        metrics.update(_list_metrics(record))
    tags = {
        **_describe_source(report),
        "qgate.role": "artifact",
        "qgate.verdict": artifact.verdict.value,
        "qgate.artifact_id": get_artifact_tag(artifact),
        "mlflow.parentRunId": parent_run_id,
        "qgate.artifact_digest": artifact.digest,
        **{f"qgate.verdict.{record.name}": record.verdict.value for record in records},
        _NOTE: _cut_note(render_artifact_markdown(report, artifact)),
    }
    return RunContent(
        name=get_artifact_tag(artifact),
        params=_clean_params(asked),
        metrics=_clean_metrics(metrics),
        tags=_clean_tags(tags),
        is_measured=_is_measured(artifact),
    )


def make_dataset(report: Report) -> DatasetContent | None:
    """Describe the text that was scored; None where the report names none."""
    text = _section(report.reference, "text")
    digest = str(text.get("digest") or "").removeprefix("sha256:")
    if not digest:
        return None
    return DatasetContent(
        name=escape_line(str(text.get("name") or "text"))[:_EXPERIMENT_LENGTH],
        digest=digest[:_DATASET_DIGEST_LENGTH],
        source=json.dumps({"uri": str(text.get("source") or text.get("name") or "")}),
    )


def _cut_note(text: str) -> str:
    """What MLflow shows as a run's description."""
    return cut_lines(text, _TAG_LENGTH, _CUT_NOTE)


def _is_measured(artifact: ArtifactReport) -> bool:
    verdicts = [record.verdict for record in artifact.records]
    return bool(verdicts) and Verdict.ERROR not in verdicts


def _list_metrics(record: Record) -> dict[str, Any]:
    name, found, limit = record.name, record.estimate, record.limit
    metrics: dict[str, Any] = {}
    if found:
        metrics = {name: found.value, f"{name}/low": found.low, f"{name}/high": found.high}
        metrics[f"{name}/n"] = found.n
    bounds = (limit.max, limit.min) if limit else ()
    metrics[f"{name}/limit"] = next((bound for bound in bounds if bound is not None), None)
    return metrics


def _describe_request(report: Report) -> dict[str, Any]:
    """Return what was asked for; numbers that the reference was measured with stay out."""
    reference = report.reference
    asked = ("id", "scheme", "runtime", "text", "window", "windows", "settings", "seed")
    return {
        "thresholds": report.thresholds,
        **{f"reference.{name}": reference.get(name) for name in asked},
    }


def _describe_source(report: Report) -> dict[str, Any]:
    environment = report.environment
    git, ci = _section(environment, "git"), _section(environment, "ci")
    dirty = git.get("dirty")
    return {
        "mlflow.source.name": "pytest --qgate",
        "mlflow.source.type": "JOB" if ci else "LOCAL",
        "mlflow.source.git.commit": git.get("commit") or ci.get("sha"),
        "mlflow.source.git.branch": git.get("branch") or ci.get("ref"),
        "mlflow.source.git.repoURL": git.get("remote"),
        "mlflow.source.git.dirty": None if dirty is None else str(dirty).lower(),
        "mlflow.runType": "test",
        "qgate.session_id": get_session_id(report),
        "qgate.version": environment.get("qgate"),
        "qgate.reference_digest": report.reference.get("digest"),
        "qgate.ci.run_url": ci.get("run_url"),
    }


def _section(parent: dict[str, Any], name: str) -> dict[str, Any]:
    section = parent.get(name)
    return section if isinstance(section, dict) else {}


def _clean_params(asked: dict[str, Any]) -> dict[str, str]:
    flat = [pair for name, value in asked.items() for pair in _flatten(name, value)]
    return {
        clean_key(name): escape_line(str(value))[:_PARAM_LENGTH]
        for name, value in flat[:_MOST_PARAMS]
    }


def _flatten(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for child_name, child in value.items():
            yield from _flatten(f"{name}.{child_name}", child)
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _flatten(f"{name}.{number}", child)
    elif value is not None and value != "":
        yield name, value


def _clean_metrics(measured: dict[str, Any]) -> dict[str, float]:
    return {
        clean_key(name): float(value) for name, value in measured.items() if _is_loggable(value)
    }


def _is_loggable(value: object) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def _clean_tags(facts: dict[str, Any]) -> dict[str, str]:
    return {
        clean_key(name): value if name == _NOTE else escape_line(str(value))[:_TAG_LENGTH]
        for name, value in facts.items()
        if value is not None
    }


def clean_key(name: str) -> str:
    """Return the nearest name that MLflow accepts on every platform."""
    # Windows has no colon in file names
    legal = re.sub(r"[^A-Za-z0-9_./\- ]", "_", name)
    parts = [part for part in legal.split("/") if part not in ("", ".", "..")]
    key = "/".join(parts) or "_"
    if len(key) <= _KEY_LENGTH:
        return key
    # two long names must not become one
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{key[: _KEY_LENGTH - 9].rstrip('/')}-{digest}"
