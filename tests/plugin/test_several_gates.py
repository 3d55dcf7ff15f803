"""Several gates in one directory at a time: each has a table, a report and an upload of its own."""

from __future__ import annotations

import json
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Toy, write_toy
from tests.plugin.conftest import CLOSED_PORT, gating, script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

OTHER_PORT = "http://127.0.0.1:10"
"""Nobody listens there either."""
MEANWHILE = """
import os, shlex, subprocess
from qgate.report.mlflow import upload
def run_the_other():
    if "OTHER" in os.environ:
        with open("other.txt", "w") as out:
            subprocess.run(shlex.split(os.environ.pop("OTHER")), stdout=out, check=False)
def pytest_runtest_logreport(report):
    if os.environ["MOMENT"] == "row":
        run_the_other()
whole_upload = upload.upload_in_child
def slow_upload(*arguments):
    run_the_other()
    return whole_upload(*arguments)
upload.upload_in_child = slow_upload
"""
MEETING = """
import os, time
from pathlib import Path
def pytest_collection_finish(session):
    here = Path(os.environ["MEETING"])
    (here / str(os.getpid())).touch()
    deadline = time.monotonic() + 300
    while len(list(here.iterdir())) < 4:
        assert time.monotonic() < deadline, "the other gates never came"
        time.sleep(0.05)
"""
INVOCATIONS = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1], registry_uri=sys.argv[1])
ids = [experiment.experiment_id for experiment in client.search_experiments()]
tags = {run.info.run_id: run.data.tags for run in client.search_runs(ids)}
roles = {run: tag for run, tag in tags.items() if tag["qgate.role"] == "invocation"}
print(json.dumps({run: tag["qgate.verdict"] for run, tag in roles.items()}))
"""


@pytest.fixture
def models(toys: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """One directory whose artifact holds, and one whose artifact is cut short."""
    good, broken = toys(good=Toy(noise=0.001)), tmp_path / "broken"
    broken.mkdir()
    write_toy(broken / "original.gguf", Toy(scheme="F32"))
    path = write_toy(broken / "broken.gguf", Toy())
    path.write_bytes(path.read_bytes()[:-500])
    return good, broken


def integrity(models: Path, uri: str) -> list[str]:
    return [str(script()), *gating(models)[:2], f"--qgate-mlflow-uri={uri}", "-m", "integrity"]


def own_report(seen: Outcome) -> dict[str, Any]:
    """Of a session, by the line that it printed."""
    (line,) = [line for line in seen.lines if line.startswith("report: ")]
    return seen.report(line.partition("this run's own: ")[2].rstrip(")"))


def facts(report: dict[str, Any]) -> tuple[str, str, str]:
    (artifact,) = report["artifacts"]
    return artifact["id"], artifact["verdict"], report["mlflow"]["uri"]


@pytest.mark.parametrize(("moment", "last"), [("row", "broken"), ("upload", "good")])
def test_the_report_is_of_the_gate_that_ended_last_and_each_has_its_own(
    project: Project, models: tuple[Path, Path], moment: str, last: str
) -> None:
    """A failing gate, and in the middle of it a whole one that holds."""
    good, broken = models
    plugins = project.directory.parent / "plugins"
    plugins.mkdir()
    (plugins / "meanwhile.py").write_text(MEANWHILE)
    other = shlex.join(integrity(good, OTHER_PORT))

    seen = project.run(
        [*integrity(broken, CLOSED_PORT), "-p", "meanwhile"],
        PYTHONPATH=str(plugins),
        MOMENT=moment,
        OTHER=other,
    )

    assert seen.code == 1, seen.text
    assert "6 passed" in (project.directory / "other.txt").read_text()
    assert facts(own_report(seen)) == ("broken", "error", CLOSED_PORT)
    of_both = {
        "broken": ("broken", "error", CLOSED_PORT),
        "good": ("good", "incomplete", OTHER_PORT),
    }
    found = [json.loads(path.read_text()) for path in seen.own_reports()]
    assert sorted(map(facts, found)) == sorted(of_both.values())
    assert seen.report() in found
    assert facts(seen.report()) == of_both[last]


def test_what_an_upload_says_goes_into_its_own_sessions_report_alone(
    project: Project, models: tuple[Path, Path]
) -> None:
    good, broken = models
    project.run(integrity(broken, CLOSED_PORT))
    seen = project.run(integrity(good, CLOSED_PORT))
    earlier, later = seen.own_reports()
    assert facts(json.loads(earlier.read_text()))[0] == "broken"

    project.run([script("qgate"), "upload", earlier, f"--uri={OTHER_PORT}"])

    assert facts(json.loads(earlier.read_text()))[2] == OTHER_PORT
    assert facts(json.loads(later.read_text()))[2] == CLOSED_PORT
    assert facts(seen.report())[::2] == ("good", CLOSED_PORT)

    project.run([script("qgate"), "upload", ".qgate/report.json", f"--uri={OTHER_PORT}"])

    assert json.loads(later.read_text()) == seen.report()
    assert facts(seen.report())[::2] == ("good", OTHER_PORT)


def test_the_reports_of_the_newest_sessions_are_kept_and_nothing_else_is_touched(
    project: Project, models: tuple[Path, Path]
) -> None:
    place = project.directory / ".qgate" / "reports"
    for number in range(60):
        name, sent = f"20260101T0000{number:02}Z-1-0000000a", number not in (3, 5)
        text = json.dumps({"mlflow": {"uploaded": sent}})
        project.write(f".qgate/reports/{name}.json", text)
    project.write(".qgate/reports/of-somebody-else.json", "{}")

    seen = project.run(integrity(models[0], CLOSED_PORT))

    names = [path.name for path in sorted(place.iterdir())]
    kept = (3, 5, 10, 11)  # whose upload never came about, and the newest
    assert names[:4] == [f"20260101T0000{number:02}Z-1-0000000a.json" for number in kept]
    assert names[-1] == "of-somebody-else.json"
    assert len(names) == 2 + 50 + 1 + 1
    assert own_report(seen) == seen.report()


def test_a_report_named_elsewhere_has_the_sessions_own_where_the_run_was(
    project: Project, models: tuple[Path, Path]
) -> None:
    seen = project.run([*integrity(models[0], CLOSED_PORT), "--qgate-json=out/gate.json"])

    (own,) = seen.own_reports()
    assert [path.name for path in (project.directory / "out").iterdir()] == ["gate.json"]
    assert f"report: out/gate.json (this run's own: .qgate/reports/{own.name})" in seen.lines
    assert facts(seen.report("out/gate.json")) == ("good", "incomplete", CLOSED_PORT)
    assert json.loads(own.read_text()) == seen.report("out/gate.json")

    project.run([script("qgate"), "upload", "out/gate.json", f"--uri={OTHER_PORT}"])

    assert facts(seen.report("out/gate.json")) == ("good", "incomplete", OTHER_PORT)
    assert json.loads(own.read_text()) == seen.report("out/gate.json")


@pytest.mark.slow
def test_a_killed_gate_leaves_no_earlier_pass_to_be_believed(
    project: Project, toys: Callable[..., Path]
) -> None:
    models, verify = toys(good=Toy(noise=0.001)), [script("qgate"), "verify", ".qgate/report.json"]
    assert project.gate(models).code == 0
    assert project.run(verify).code == 0
    killing = "import os\ndef pytest_runtest_logfinish(): os.kill(os.getpid(), 9)\n"
    (project.directory.parent / "killing.py").write_text(killing)

    path = str(project.directory.parent)
    killed = project.gate(models, "-p", "killing", PYTHONPATH=path)
    assert killed.code == -9
    refused = project.run(verify)

    assert refused.code == 1
    (left,) = (project.directory / ".qgate").glob(".report.json.*.running")
    own = f".qgate/reports/{left.suffixes[-2][1:]}.json"
    assert f"the last one was killed, or could not write its own, and left {own};" in refused.err
    assert len(refused.err.splitlines()) == 1
    rows = {row["verdict"] for row in killed.report(own)["artifacts"][0]["checks"]}
    assert rows == {"pass", "incomplete"}

    assert project.gate(models).code == 0
    assert project.run(verify).code == 0
    assert len(killed.own_reports()) == 3
    assert not left.exists()


@pytest.mark.slow
def test_four_gates_at_once_are_four_sessions(project: Project, models: tuple[Path, Path]) -> None:
    store = f"sqlite:///{project.directory}/mlflow.db"
    assert project.run(integrity(models[0], store)).code == 0  # makes the store
    meeting = project.directory.parent / "meeting"
    meeting.mkdir()
    (project.directory.parent / "meeting_plugin.py").write_text(MEETING)
    environ = {"PYTHONPATH": str(project.directory.parent), "MEETING": str(meeting)}
    with ThreadPoolExecutor(4) as pool:
        runs = list(
            pool.map(
                lambda one: project.run(
                    [*integrity(one, store), "-p", "meeting_plugin"], **environ
                ),
                [*models, *models],
            )
        )

    assert [seen.code for seen in runs] == [0, 1, 0, 1]
    reports = [own_report(seen) for seen in runs]
    wanted = [("good", "incomplete", store), ("broken", "error", store)]
    assert [facts(report) for report in reports] == [*wanted, *wanted]
    for seen, report in zip(runs, reports, strict=True):
        assert "Traceback" not in seen.text
        assert report["mlflow"]["uploaded"], report["mlflow"]
        run_id = report["mlflow"]["parent_run_id"]
        assert any(line.startswith("mlflow: ") and line.endswith(run_id) for line in seen.lines)
    assert runs[0].report() in reports
    sessions = project.run([sys.executable, "-c", INVOCATIONS, store])
    of_mlflow = json.loads(sessions.out.splitlines()[-1])
    sent = {report["mlflow"]["parent_run_id"]: report["verdict"] for report in reports}
    assert len(sent) == 4
    assert sent.items() <= of_mlflow.items()
    assert len(of_mlflow) == 5
