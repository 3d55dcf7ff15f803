"""A report as MLflow runs: one parent per invocation, one child per artifact.

Only the client with explicit run ids, never the fluent API and its global run. Status FINISHED
means measured, whatever the verdict; FAILED means that rows are errors; the verdict is the tag
`qgate.verdict`. This module and `sqlite_store` are all that imports mlflow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import QGateError
from qgate.report.mlflow import content
from qgate.report.mlflow.lock import alone, remove_left_over
from qgate.report.mlflow.server_check import find_outage
from qgate.report.mlflow.sqlite_store import get_store_path, make_store
from qgate.report.plots import kl_histogram_png
from qgate.report.provenance import strip_uri
from qgate.report.worst_samples import tabulate_worst

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qgate.records import Report

_COMPLETE = "qgate.complete"
_FLIPS = "flips.json"
_IDENTITY = ("qgate.session_id", "qgate.artifact_id", "mlflow.parentRunId")
"""What a run carries from its first moment, so that a half logged one is found again."""
_BEGUN = "qgate.role"
"""A tag of the first batch: a run without it holds nothing yet."""
_MOST_IN_BATCH = 100
_MOST_ATTEMPTS = 3
"""Who lost a run or a row to another upload finds that one's in the next attempt."""
_MOST_RUNS = 5000
_RUN_IS_DELETED = "INVALID_PARAMETER_VALUE"
"""MLflow's code for a run that "must be in the 'active' state", and for other things as well."""
_ROW_IS_THERE = "BAD_REQUEST"
"""MLflow's code for a row that the database does not take, and for other things as well."""
_OF_SQLITE = "IntegrityError"
"""The same in the text of an INTERNAL_ERROR; a server's client repeats such a request itself."""


class UploadError(QGateError):
    """MLflow could not be reached, or refused; the report stays on disk."""


class _RunLostError(Exception):
    """The run was removed meanwhile, as another upload of the session does that has one as well."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id


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


def upload(
    report: Report,
    report_path: Path,
    uri: str,
    lock_deadline_s: float = 30.0,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> UploadOutcome:
    """Log a report as one parent run and one child run per artifact.

    Repeatable: runs are found again by `qgate.session_id`. Complete ones are left as they are, half
    logged ones are completed: parameters, tags and metrics with the same time are the same rows.

    Args:
        report: what is sent.
        report_path: its file, which is sent as well.
        uri: the store.
        lock_deadline_s: how long to wait for another upload of the same session, and for another
            process that makes the store.
        tell: called with the number of runs that are sent, and of all.

    Raises:
        UploadError: MLflow is down, or refuses.
        UsageError: the report has no session id.
    """
    session_id = content.get_session_id(report)
    outage = find_outage(uri, os.environ)
    if outage and outage.is_final:
        raise UploadError(outage.reason)
    try:
        with _alone_with_session(report_path, session_id, lock_deadline_s):
            session = _open_session(report, uri, lock_deadline_s, tell)
            outage = None  # mlflow got in
            parent = session.upload(report, report_path)
    except QGateError:
        raise
    # mlflow, its stores and their drivers raise whatever they like; no verdict may hang on it
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise UploadError(f"{outage.reason} ({said})" if outage else said) from error
    return UploadOutcome(
        uri=strip_uri(uri),
        uploaded=True,
        experiment=content.name_experiment(report),
        parent_run_id=parent,
    )


@contextlib.contextmanager
def _alone_with_session(report_path: Path, session_id: str, deadline_s: float) -> Iterator[None]:
    """Two uploads of one session are one: the second waits, and finds what the first has sent."""
    for left_over in report_path.parent.glob(".upload-*.lock"):
        remove_left_over(left_over)
    with contextlib.ExitStack() as stack:
        lock = alone(report_path.with_name(f".upload-{session_id}.lock"), deadline_s)
        try:
            stack.enter_context(lock)
        except TimeoutError as error:
            raise UploadError(f"another upload of this session is at work: {error}") from error
        except OSError:  # a directory to read from only: what is found in the store has to do
            pass
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """One upload: a client and what all its runs share."""

    client: Any
    experiment_id: str
    session_id: str
    started_ms: int
    ended_ms: int
    tell: Callable[[int, int], None]

    def upload(self, report: Report, report_path: Path) -> str:
        """Return the parent's run id."""
        whole = content.make_parent(report)
        for _ in range(_MOST_ATTEMPTS):
            (parent,) = self._claim([whole])
            parent_id = _get_run_id(parent)
            if parent.data.tags.get(_COMPLETE) == "true":
                return parent_id
            try:
                with self._holding(parent_id):
                    self._complete(parent_id, whole, report, report_path)
            except _RunLostError as lost:
                self._remove_children(lost.run_id)
            else:
                return parent_id
        raise UploadError(f"its runs were removed {_MOST_ATTEMPTS} times while they were sent")

    def _complete(
        self, parent_id: str, whole: content.RunContent, report: Report, report_path: Path
    ) -> None:
        self._log(parent_id, whole)
        children = [content.make_child(report, one, parent_id) for one in report.artifacts]
        total = len(children) + 1
        for done, (child, run) in enumerate(zip(children, self._claim(children), strict=True)):
            self.tell(done, total)
            run_id = _get_run_id(run)
            with self._holding(run_id):
                self._log(run_id, child)
                self._log_dataset(run_id, report)
                self._finish(run_id, child)
        self.tell(len(children), total)
        self._log_files(parent_id, report, report_path)
        self._finish(parent_id, whole)
        self._set_tag(parent_id, _COMPLETE, "true")
        for runs in self._find_runs().values():
            self._choose(runs)  # a request that was repeated may have made an empty one later

    def _claim(self, wanted: Sequence[content.RunContent]) -> list[Any]:
        """Return the run of each, found or created, of which there is one however many upload.

        Who created one looks again: where there are several, all uploads choose the same and remove
        those that hold nothing yet. An upload that loses its run so looks again, and completes the
        other.
        """
        found = self._find_runs()
        missing = [one for one in wanted if _get_identity(one.tags) not in found]
        if missing:
            created = {_get_identity(one.tags): [self._create(one)] for one in missing}
            found = created | self._find_runs()
        return [self._choose(found[_get_identity(one.tags)]) for one in wanted]

    def _find_runs(self) -> dict[tuple[str | None, ...], list[Any]]:
        """Return this session's runs by what they are."""
        query = f"tags.`qgate.session_id` = '{self.session_id}'"
        found = defaultdict(list)
        for run in self.client.search_runs(
            [self.experiment_id], filter_string=query, max_results=_MOST_RUNS
        ):
            found[_get_identity(run.data.tags)].append(run)
        return dict(found)

    def _choose(self, runs: list[Any]) -> Any:  # noqa: ANN401 - mlflow's
        def rank(run: Any) -> tuple[bool, bool, str]:  # noqa: ANN401 - mlflow's
            tags = run.data.tags
            return tags.get(_COMPLETE) != "true", _BEGUN not in tags, run.info.run_id

        best, *others = sorted(runs, key=rank)
        for other in others:
            if _BEGUN not in other.data.tags:
                # removed already, or not ours to remove: the one that is kept is the same
                with contextlib.suppress(Exception):
                    self.client.delete_run(other.info.run_id)
        return best

    @contextlib.contextmanager
    def _holding(self, run_id: str) -> Iterator[None]:
        """Tell apart that MLflow refuses from that the run was removed.

        Raises:
            _RunLostError: it was.
        """
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code == _RUN_IS_DELETED and self._is_deleted(run_id):
                raise _RunLostError(run_id) from error
            raise

    def _is_deleted(self, run_id: str) -> bool:
        with contextlib.suppress(Exception):  # who asks has an error to tell already
            return bool(self.client.get_run(run_id).info.lifecycle_stage == "deleted")
        return False

    def _remove_children(self, parent_id: str) -> None:
        """Of a parent that is lost, which nobody would find below another one."""
        for (parent, _), runs in self._find_runs().items():
            if parent == parent_id:
                for run in runs:
                    self.client.delete_run(run.info.run_id)

    def _create(self, run_content: content.RunContent) -> Any:  # noqa: ANN401 - mlflow's
        return self.client.create_run(
            self.experiment_id,
            start_time=self.started_ms or None,
            tags={name: value for name, value in run_content.tags.items() if name in _IDENTITY},
            run_name=run_content.name,
        )

    def _log(self, run_id: str, run_content: content.RunContent) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [
            Metric(key, value, self.started_ms, 0) for key, value in run_content.metrics.items()
        ]
        params = [Param(key, value) for key, value in run_content.params.items()]
        tags = [RunTag(key, value) for key, value in run_content.tags.items()]
        for first in range(0, max(len(metrics), len(params), len(tags)), _MOST_IN_BATCH):
            part = slice(first, first + _MOST_IN_BATCH)
            batch = {"metrics": metrics[part], "params": params[part], "tags": tags[part]}
            _insert(functools.partial(self.client.log_batch, run_id, **batch))

    def _log_dataset(self, run_id: str, report: Report) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        text = content.make_dataset(report)
        if text is None:
            return
        dataset = Dataset(
            name=text.name, digest=text.digest, source_type="local", source=text.source
        )
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "eval")])]
        _insert(lambda: self.client.log_inputs(run_id, datasets=inputs))

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
                self._set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(tables))
            self.client.log_artifacts(run_id, str(directory))

    def _set_tag(self, run_id: str, key: str, value: str) -> None:
        _insert(functools.partial(self.client.set_tag, run_id, key, value))

    def _finish(self, run_id: str, run_content: content.RunContent) -> None:
        status = "FINISHED" if run_content.is_measured else "FAILED"
        self.client.set_terminated(run_id, status=status, end_time=self.ended_ms or None)


def _insert(log: Callable[[], None]) -> None:
    """Log, again where another upload was between MLflow's look for a row and its insertion.

    The next attempt finds that row; to log the same once more changes nothing.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(_MOST_ATTEMPTS - 1):
        try:
            log()
        except MlflowException as error:
            if error.error_code != _ROW_IS_THERE and _OF_SQLITE not in str(error):
                raise
        else:
            return
    log()


def _open_session(
    report: Report, uri: str, lock_deadline_s: float, tell: Callable[[int, int], None]
) -> _Session:
    client = _open(uri, lock_deadline_s)
    return _Session(
        client=client,
        experiment_id=_get_experiment(client, content.name_experiment(report), uri),
        session_id=content.get_session_id(report),
        started_ms=content.get_time_ms(report, "started_at"),
        ended_ms=content.get_time_ms(report, "ended_at"),
        tell=tell,
    )


def _open(uri: str, lock_deadline_s: float) -> Any:  # noqa: ANN401 - mlflow's
    import mlflow

    path = get_store_path(uri)
    if path is not None:
        try:
            make_store(path, lock_deadline_s)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UploadError(f"{path}: the store cannot be made: {reason}") from error
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


def _get_identity(tags: Mapping[str, str]) -> tuple[str | None, ...]:
    """What tells a run from the others of its session: the parent has neither."""
    return tags.get("mlflow.parentRunId"), tags.get("qgate.artifact_id")


def _get_run_id(run: Any) -> str:  # noqa: ANN401 - mlflow's
    run_id: str = run.info.run_id
    if not run_id:
        raise _make_unreadable("a run without an id")
    return run_id


def _get_experiment(client: Any, name: str, uri: str) -> str:  # noqa: ANN401 - mlflow's
    found = client.get_experiment_by_name(name) or _make_experiment(client, name, uri)
    if found is None:
        raise _make_unreadable("no experiment after one was created")
    experiment_id: str = found.experiment_id
    if not experiment_id or found.name != name:
        raise _make_unreadable(
            f"an experiment {found.name!r:.80} with the id {experiment_id!r:.80}"
        )
    if found.lifecycle_stage == "deleted":
        raise UploadError(
            f"experiment {name!r} was deleted. Restore it with: "
            f"mlflow experiments restore --experiment-id {experiment_id}"
        )
    return experiment_id


def _make_experiment(client: Any, name: str, uri: str) -> Any:  # noqa: ANN401 - mlflow's
    path = get_store_path(uri)
    # a SQLite store's files lie beside it; servers know a place of their own
    location = (path.parent / "mlartifacts").as_uri() if path else None
    try:
        client.create_experiment(name, artifact_location=location)
    except Exception:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found  # another upload was faster
    return client.get_experiment_by_name(name)


def _make_unreadable(got: str) -> UploadError:
    return UploadError(
        f"the server's answer is unreadable: got {got}; expected what MLflow answers. "
        "Is this the address of an MLflow server?"
    )
