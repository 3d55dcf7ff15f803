"""A report as MLflow runs: one parent per invocation, one child per artifact.

Only the client with explicit run ids, never the fluent API and its global run. Status FINISHED
means measured, whatever the verdict; FAILED means that rows are errors; the verdict is the tag
`qgate.verdict`. This is the one module that imports mlflow.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import QGateError
from qgate.report.mlflow import content
from qgate.report.mlflow.server_check import find_outage
from qgate.report.plots import kl_histogram_png
from qgate.report.provenance import strip_uri
from qgate.report.worst_samples import tabulate_worst

if TYPE_CHECKING:
    from qgate.records import Report

_COMPLETE = "qgate.complete"
_FLIPS = "flips.json"
_IDENTITY = ("qgate.session_id", "qgate.artifact_id", "mlflow.parentRunId")
"""What a run carries from its first moment, so that a half logged one is found again."""
_MOST_IN_BATCH = 100
_MOST_RUNS = 5000


class UploadError(QGateError):
    """MLflow could not be reached, or refused; the report stays on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOutcome:
    """What came of an upload; the report's `mlflow` section."""

    uri: str
    """Without credentials."""
    experiment: str | None = None
    parent_run_id: str | None = None
    uploaded: bool
    reason: str | None = None
    """Why not, in one line."""

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value is not None}


def upload(report: Report, report_path: Path, uri: str) -> UploadOutcome:
    """Log a report as one parent run and one child run per artifact.

    Repeatable: runs are found again by `qgate.session_id`. Complete ones are left as they are, half
    logged ones are completed: parameters, tags and metrics with the same time are the same rows.

    Raises:
        UploadError: MLflow is down, or refuses.
        UsageError: the report has no session id.
    """
    session_id = content.get_session_id(report)
    outage = find_outage(uri, os.environ)
    if outage:
        raise UploadError(outage)
    try:
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment = content.name_experiment(report)
        session = _Session(
            client=client,
            experiment_id=_get_experiment(client, experiment, uri),
            session_id=session_id,
            started_ms=content.get_time_ms(report, "started_at"),
            ended_ms=content.get_time_ms(report, "ended_at"),
        )
        parent = session.upload(report, report_path)
    except QGateError:
        raise
    # mlflow, its stores and their drivers raise whatever they like; no verdict may hang on it
    except Exception as error:
        raise UploadError(f"{type(error).__name__}: {error}") from error
    return UploadOutcome(
        uri=strip_uri(uri), uploaded=True, experiment=experiment, parent_run_id=parent
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """One upload: a client and what all its runs share."""

    client: Any
    experiment_id: str
    session_id: str
    started_ms: int
    ended_ms: int

    def upload(self, report: Report, report_path: Path) -> str:
        """Return the parent's run id."""
        known = self._find_runs()
        parent = known.get(None)
        if parent is not None and parent.data.tags.get(_COMPLETE) == "true":
            return str(parent.info.run_id)
        whole = content.make_parent(report)
        parent_id = self._log(whole, parent)
        for artifact in report.artifacts:
            child = content.make_child(report, artifact, parent_id)
            run_id = self._log(child, known.get(content.get_artifact_tag(artifact)))
            self._log_dataset(run_id, report)
            self._finish(run_id, child)
        self._log_files(parent_id, report, report_path)
        self._finish(parent_id, whole)
        self.client.set_tag(parent_id, _COMPLETE, "true")
        return parent_id

    def _find_runs(self) -> dict[str | None, Any]:
        """Return this session's runs by artifact id; the parent is under None."""
        query = f"tags.`qgate.session_id` = '{self.session_id}'"
        runs = self.client.search_runs(
            [self.experiment_id], filter_string=query, max_results=_MOST_RUNS
        )
        return {run.data.tags.get("qgate.artifact_id"): run for run in runs}

    def _log(self, run_content: content.RunContent, known: Any) -> str:  # noqa: ANN401 - mlflow's
        from mlflow.entities import Metric, Param, RunTag

        identity = {name: value for name, value in run_content.tags.items() if name in _IDENTITY}
        run = known or self.client.create_run(
            self.experiment_id,
            start_time=self.started_ms or None,
            tags=identity,
            run_name=run_content.name,
        )
        run_id: str = run.info.run_id
        metrics = [
            Metric(key, value, self.started_ms, 0) for key, value in run_content.metrics.items()
        ]
        params = [Param(key, value) for key, value in run_content.params.items()]
        tags = [RunTag(key, value) for key, value in run_content.tags.items()]
        for first in range(0, max(len(metrics), len(params), len(tags)), _MOST_IN_BATCH):
            part = slice(first, first + _MOST_IN_BATCH)
            self.client.log_batch(
                run_id, metrics=metrics[part], params=params[part], tags=tags[part]
            )
        return run_id

    def _log_dataset(self, run_id: str, report: Report) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        text = content.make_dataset(report)
        if text is None:
            return
        dataset = Dataset(
            name=text.name, digest=text.digest, source_type="local", source=text.source
        )
        context = InputTag("mlflow.data.context", "eval")
        self.client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])

    def _log_files(self, run_id: str, report: Report, report_path: Path) -> None:
        plot = kl_histogram_png(report)
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            shutil.copyfile(report_path, directory / "report.json")
            if plot is not None:
                (directory / "kl_divergence.png").write_bytes(plot)
            flips = tabulate_worst(report)
            if flips["data"]:
                (directory / _FLIPS).write_text(json.dumps(flips), encoding="utf-8")
                tables = [{"path": _FLIPS, "type": "table"}]  # the page shows it as one
                self.client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(tables))
            self.client.log_artifacts(run_id, str(directory))

    def _finish(self, run_id: str, run_content: content.RunContent) -> None:
        status = "FINISHED" if run_content.is_measured else "FAILED"
        self.client.set_terminated(run_id, status=status, end_time=self.ended_ms or None)


def _get_experiment(client: Any, name: str, uri: str) -> str:  # noqa: ANN401 - mlflow's
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = _make_artifact_location(uri)
        created: str = client.create_experiment(name, artifact_location=location)
        return created
    found: str = experiment.experiment_id
    if experiment.lifecycle_stage != "active":
        raise UploadError(
            f"experiment {name!r} was deleted. Restore it with: "
            f"mlflow experiments restore --experiment-id {found}"
        )
    return found


def _make_artifact_location(uri: str) -> str | None:
    """Put a SQLite store's files beside it; servers know a place of their own."""
    path = uri.removeprefix("sqlite:///").partition("?")[0]
    if path == uri or not path:
        return None
    return (Path(path).absolute().parent / "mlartifacts").as_uri()
