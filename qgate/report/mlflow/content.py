r"""What MLflow is told: a report's JSON turned into parameters, metrics and tags that it accepts.

Pure, and without mlflow. Parameters say what was asked, metrics what was measured, tags where it
comes from and what the gate said. MLflow's bounds (utils/validation.py, 3.17): keys of 250
characters out of `[\\w./\\- :]`, parameters of 6 000, tags of 8 000, dataset digests of 36; an
infinite metric is stored as 1.8e308 without a word, so none is ever passed on.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qgate.errors import UsageError
from qgate.report.table import render_artifact_markdown, render_markdown
from qgate.report.text import cut_lines, escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def get_session_id(report_json: dict[str, Any]) -> str:
    """Return what makes an upload repeatable.

    Raises:
        UsageError: the report has none, or one that a query could not hold.
    """
    session_id = report_json["environment"].get("session_id")
    if not isinstance(session_id, str) or not re.fullmatch(r"[\w-]{1,64}", session_id):
        raise UsageError(
            f"report: environment.session_id: got {session_id!r:.80}; expected 1 to 64 letters, "
            "digits, _ or -. Without it an upload could be logged twice."
        )
    return session_id


def get_time_ms(report_json: dict[str, Any], name: str) -> int:
    """Return a time of the run, `started_at` or `ended_at`; 0 where unknown.

    Not the time of the upload: a metric sent again must be the same point, not a second one.
    """
    try:
        time = datetime.fromisoformat(str(report_json["environment"].get(name)))
        return max(0, int(time.timestamp() * 1000))
    except (ValueError, OverflowError):
        return 0


def name_experiment(report_json: dict[str, Any]) -> str:
    """Return `qgate/<reference id>`: one experiment per original, not per commit."""
    reference_id = escape_line(str(report_json["reference"].get("id") or "no reference"))
    return f"qgate/{reference_id}"[:_EXPERIMENT_LENGTH]


def make_parent(report_json: dict[str, Any]) -> RunContent:
    """Describe the invocation as a whole."""
    environment, artifacts = report_json["environment"], report_json["artifacts"]
    commit = (_section(environment, "git").get("commit") or "")[:7]
    number = _section(environment, "ci").get("run_number")
    started = environment.get("started_at")
    words = ("qgate", commit or started, f"#{number}" if number else None)
    counts = {
        f"qgate.artifacts.{verdict}": sum(item["verdict"] == verdict for item in artifacts)
        for verdict in ("pass", "fail", "inconclusive", "error", "incomplete")
    }
    metrics = {"qgate.passed": report_json["verdict"] == "pass", **counts}
    return RunContent(
        name=" ".join(str(word) for word in words if word),
        params=_clean_params(_describe_request(report_json)),
        metrics=_clean_metrics(metrics),
        tags=_clean_tags(
            {
                **_describe_source(report_json),
                "qgate.role": "invocation",
                "qgate.verdict": report_json["verdict"],
                _NOTE: _cut_note(render_markdown(report_json)),
            }
        ),
        is_measured=bool(artifacts) and all(map(_is_measured, artifacts)),
    )


def get_artifact_tag(artifact: dict[str, Any]) -> str:
    """Return what tells an artifact's run from those beside it."""
    return escape_line(artifact["id"])[:_TAG_LENGTH]


def make_child(
    report_json: dict[str, Any], artifact: dict[str, Any], parent_run_id: str
) -> RunContent:
    """Describe one artifact."""
    checks = artifact["checks"]
    levels = sorted({check["level"] for check in checks if check["level"] is not None})
    asked = {
        "scheme": artifact["scheme"],
        "quantization": artifact.get("quantization"),
        "format": artifact.get("format"),
        "runtime": artifact.get("runtime"),
        "compared_with": artifact.get("compared_with"),
        "level": ", ".join(map(str, levels)) or None,
        **_describe_request(report_json),
    }
    metrics = {
        "qgate.passed": artifact["verdict"] == "pass",
        "artifact.size_bytes": artifact["size_bytes"],
        **{f"measured.{name}": value for name, value in artifact["measured"].items()},
    }
    for check in checks:
        metrics.update(_list_metrics(check))
    tags = {
        **_describe_source(report_json),
        "qgate.role": "artifact",
        "qgate.verdict": artifact["verdict"],
        "qgate.artifact_id": get_artifact_tag(artifact),
        "mlflow.parentRunId": parent_run_id,
        "qgate.artifact_digest": artifact.get("digest"),
        **{f"qgate.verdict.{check['name']}": check["verdict"] for check in checks},
        _NOTE: _cut_note(render_artifact_markdown(report_json, artifact)),
    }
    return RunContent(
        name=get_artifact_tag(artifact),
        params=_clean_params(asked),
        metrics=_clean_metrics(metrics),
        tags=_clean_tags(tags),
        is_measured=_is_measured(artifact),
    )


def make_dataset(report_json: dict[str, Any]) -> DatasetContent | None:
    """Describe the text that was scored; None where the report names none."""
    text = _section(report_json["reference"], "text")
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


def _is_measured(artifact: dict[str, Any]) -> bool:
    verdicts = [check["verdict"] for check in artifact["checks"]]
    return bool(verdicts) and "error" not in verdicts


def _list_metrics(check: dict[str, Any]) -> dict[str, Any]:
    name, limit = check["name"], check["limit"] or {}
    bounds = [bound for bound in (limit.get("max"), limit.get("min")) if bound is not None]
    return {
        name: check["value"],
        **{f"{name}/{end}": check[end] for end in ("low", "high", "n")},
        f"{name}/limit": bounds[0] if bounds else None,
    }


def _describe_request(report_json: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked for; numbers that the reference was measured with stay out."""
    reference = report_json["reference"]
    asked = ("id", "scheme", "runtime", "text", "window", "windows", "settings", "seed")
    return {
        "thresholds": report_json["thresholds"],
        **{f"reference.{name}": reference.get(name) for name in asked},
    }


def _describe_source(report_json: dict[str, Any]) -> dict[str, Any]:
    environment = report_json["environment"]
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
        "qgate.session_id": get_session_id(report_json),
        "qgate.version": environment.get("qgate"),
        "qgate.reference_digest": report_json["reference"].get("digest"),
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
    if isinstance(value, dict):
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
