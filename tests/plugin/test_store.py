"""Where measurements are kept, as users see it: run again, interrupted, elsewhere, in the way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.conftest import Toy
from tests.plugin.conftest import CORE, Outcome, Project, core_limits, gating, script
from tests.support.disks import on_a_disk
from tests.support.references import entries

if TYPE_CHECKING:
    from collections.abc import Callable

STORE = Path(".qgate") / "references"
TIGHT = "  divergence.kl_mean: {max: 0.000001}\n"
PATIENCE_S = 120.0


def from_store(seen: Outcome, artifact: str = "good") -> dict[str, Any]:
    found = next(one for one in seen.report()["artifacts"] if one["id"] == artifact)
    kept: dict[str, Any] = found["from_store"]
    return kept


def all_is_kept(told: dict[str, Any]) -> bool:
    """Whether no likelihood was asked for again."""
    likelihoods = told["likelihoods"]
    return likelihoods["asked"] == likelihoods["from_store"] > 0


def test_other_limits_judge_what_is_there(project: Project, toys: Callable[..., Path]) -> None:
    models = toys(good=Toy(noise=0.001))
    first = project.gate(models)
    kept_first, values_first = from_store(first), values(first)
    project.write("tight.yaml", core_limits() + TIGHT)

    again = project.pytest(*gating(models), *CORE, "--qgate-thresholds=tight.yaml")

    assert (first.code, again.code) == (0, 1)
    looks = kept_first["likelihoods"]["asked"]
    assert looks in (1, 2)  # half of the text decides, or not: the toy's text is not the same
    assert kept_first == {"likelihoods": {"asked": looks, "from_store": 0}}  # on every processor
    day = from_store(again)["measured_at"][:10]
    assert from_store(again)["likelihoods"] == {"asked": looks, "from_store": looks}
    assert f"likelihoods from the store, measured {day}" in again.lines
    assert not [line for line in first.lines if "from the store" in line]
    assert again.verdicts("good")["divergence.kl_mean"] == "fail"
    assert values(again) == values_first


def test_an_open_row_has_the_reference_write_more_and_the_next_run_finds_it(
    project: Project, toys: Callable[..., Path]
) -> None:
    models, row = toys(bad=Toy(noise=0.3)), "divergence.kl_mean"
    text = "source: generated, windows: 6, window_tokens: 64"

    def gate(most: float, more: str = "") -> dict[str, Any]:
        others = (
            "perplexity.ratio",
            "perplexity.increase",
            "divergence.kl_p99",
            "divergence.same_top",
        )
        rows = "".join(f"  {name}: off\n" for name in others)  # they fail, and then nothing is open
        limit = f"  {row}: {{max: {most}}}\ntext: {{{text}{more}}}\n"
        project.write("team.yaml", core_limits() + rows + limit)
        seen = project.pytest(*gating(models), *CORE, "--qgate-thresholds=team.yaml")
        [found] = [one for one in seen.report()["artifacts"][0]["checks"] if one["name"] == row]
        extension = seen.report()["reference"].get("extension")
        asked = from_store(seen, "bad")["likelihoods"]
        return {**found, "asked": asked, "more": extension and extension["perplexity"]["n"]}

    most = 1.18 * gate(100.0)["value"]
    shutil.rmtree(project.directory / STORE)
    found, again, short = gate(most), gate(most), gate(most, ", extend: false")

    assert [one["details"]["windows"] for one in (found, again, short)] == [12, 12, 6]
    assert again["value"] == found["value"] != short["value"]
    assert short["verdict"] == "inconclusive"
    assert found["more"] == again["more"] > 0
    assert short["more"] is None
    assert found["asked"] == {"asked": 2, "from_store": 0}
    assert again["asked"] == {"asked": 2, "from_store": 2}


def values(seen: Outcome) -> dict[str, Any]:
    rows = seen.report()["artifacts"][0]["checks"]
    return {row["name"]: row["value"] for row in rows}


@pytest.mark.parametrize("where", ["option", "variable", "ini"])
def test_the_store_is_where_it_is_said_to_be(
    project: Project, toys: Callable[..., Path], where: str
) -> None:
    models = toys(good=Toy())
    home = project.directory / "home"
    (project.directory / "elsewhere").mkdir()
    arguments: list[str] = []
    environ = {"HOME": str(home)}
    if where == "option":
        arguments, place = ["--qgate-store=elsewhere/kept"], project.directory / "elsewhere/kept"
        environ["QGATE_STORE"] = "not-here"
    elif where == "variable":
        environ["QGATE_STORE"], place = "~/kept", home / "kept"
        project.write("pytest.ini", "[pytest]\nqgate_store = not-here\n")
    else:
        project.write("pytest.ini", "[pytest]\nqgate_store = kept\n")
        place = project.directory / "kept"

    seen = project.gate(models, *arguments, **environ)

    assert seen.code == 0
    assert entries(place / "references")
    assert not (project.directory / STORE).exists()
    assert not (project.directory / "not-here").exists()
    assert (project.directory / ".qgate" / "report.json").is_file()


REFUSED = {
    "s3://bucket/store": "--qgate-store: got 's3://bucket/store'; expected a directory: no store is"
    " reached by an address yet. Name a directory, which may be a mounted one",
    "file.txt": "--qgate-store: {here}/file.txt: got a file; expected a directory. Move it away, or"
    " name another directory with --qgate-store DIR",
}


@pytest.mark.parametrize("given", REFUSED)
def test_what_is_no_store_is_refused_before_the_run(
    project: Project, toys: Callable[..., Path], given: str
) -> None:
    project.write("file.txt", "kept")

    seen = project.gate(toys(good=Toy()), f"--qgate-store={given}")

    assert seen.code == 4
    assert f"ERROR: {REFUSED[given].format(here=project.directory)}" in seen.lines
    assert (project.directory / "file.txt").read_text() == "kept"


@pytest.mark.parametrize("given", ["many", "-1", "0", "inf"])
def test_a_size_that_is_none_is_refused(
    project: Project, toys: Callable[..., Path], given: str
) -> None:
    project.write("pytest.ini", f"[pytest]\nqgate_store_gib = {given}\n")

    seen = project.gate(toys(good=Toy()))

    assert seen.code == 4
    line = f"ERROR: qgate_store_gib: got {given!r}; expected a number of GiB above 0"
    assert line in seen.lines


def not_ours(project: Project) -> str:
    return (
        f"store: {project.directory / STORE}: got entries that are damaged, or not signed with this"
        " key; they are measured again. Who shares a store shares QGATE_STORE_KEY"
    )


def test_a_damaged_store_is_measured_again_which_is_said_once(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(good=Toy(noise=0.001))
    first = project.gate(models)
    values_first = values(first)
    for path in (project.directory / STORE).glob("*/*.*"):
        path.write_bytes(path.read_bytes()[:-1])

    again = project.gate(models)
    third = project.gate(models)

    assert [first.code, again.code, third.code] == [0, 0, 0]
    values_again, kept_again = values(again), from_store(third)
    assert values_again == values_first
    assert [line for line in again.lines if line.startswith("store:")] == [not_ours(project)]
    assert not [line for line in third.lines if line.startswith("store:")]
    assert all_is_kept(kept_again)


def test_a_forged_original_is_measured_again(project: Project, toys: Callable[..., Path]) -> None:
    """The artifact's own numbers, written as the original's with all digests: it passed by them."""
    models = toys(bad=Toy(noise=0.9))
    first = project.gate(models)
    values_first = values(first)
    [of_the_reference] = (project.directory / STORE).glob("*/kept.npy")
    forge(of_the_reference.parent)

    seen = project.gate(models)

    assert (first.code, seen.code) == (1, 1)
    assert values(seen) == values_first
    assert [line for line in seen.lines if line.startswith("store:")] == [not_ours(project)]


def forge(entry: Path) -> None:
    """Other likelihoods in an entry, and digests that are right, as anybody can write them."""
    np.save(entry / "nll.npy", np.load(entry / "nll.npy") + 1.0)
    body = json.loads((entry / "entry.json").read_text())
    body["arrays"] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in entry.glob("*.npy")
    }
    if "digest" in body:  # as entries had it before they were signed
        del body["digest"]
        plain = json.dumps(body, sort_keys=True).encode()
        body["digest"] = hashlib.sha256(plain).hexdigest()
    (entry / "entry.json").write_text(json.dumps(body, indent=1, sort_keys=True))


def start(project: Project, models: Path, name: str, **environ: str) -> subprocess.Popen[bytes]:
    project.write("core.yaml", core_limits())
    command = [str(script()), *gating(models), *CORE, "--qgate-thresholds=core.yaml"]
    command += [f"--qgate-json={name}.json"]
    with (project.directory / f"{name}.txt").open("wb") as out:
        return subprocess.Popen(
            command,
            cwd=project.directory,
            env={**project.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def test_two_runs_in_one_store_both_finish_whole(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(good=Toy(noise=0.001), other=Toy(noise=0.002))

    runs = [start(project, models, name) for name in ("one", "two")]

    codes = [run.wait(timeout=PATIENCE_S) for run in runs]
    reports = [
        json.loads((project.directory / f"{name}.json").read_text()) for name in ("one", "two")
    ]
    assert codes == [0, 0]
    assert [report["verdict"] for report in reports] == ["pass", "pass"]
    rows = [
        [
            (row["name"], row["value"])
            for artifact in report["artifacts"]
            for row in artifact["checks"]
        ]
        for report in reports
    ]
    assert rows[0] == rows[1]
    third = project.gate(models)
    assert all_is_kept(from_store(third))


def left_overs(project: Project, tmp_path: Path) -> list[str]:
    """Folders of the run's own, and its notes of what it uses."""
    places = (tmp_path / "tmp", project.directory / STORE)
    names = [path.name for place in places for path in place.iterdir()]
    return [name for name in names if name.startswith((".measuring", ".run", "qgate-"))]


def test_a_killed_run_goes_on_from_what_is_finished(
    project: Project, toys: Callable[..., Path], tmp_path: Path
) -> None:
    models = toys(a_good=Toy(noise=0.001), b_stuck=Toy(fault="hang:score"))
    (tmp_path / "tmp").mkdir()
    run = start(project, models, "killed", TMPDIR=str(tmp_path / "tmp"))
    deadline = time.monotonic() + PATIENCE_S
    while not is_measured(project, "a_good"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1.0)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    (models / "b_stuck.gguf").unlink()
    assert left_overs(project, tmp_path)

    seen = project.gate(models, TMPDIR=str(tmp_path / "tmp"))

    assert seen.code == 0
    assert left_overs(project, tmp_path) == []
    assert all_is_kept(from_store(seen, "a_good"))
    assert not [line for line in seen.lines if line.startswith("store:")]


def is_measured(project: Project, artifact: str) -> bool:
    """Whether the report of the run that is going to be killed has values of the artifact."""
    try:
        (own,) = (project.directory / ".qgate" / "reports").glob("*.json")
        report = json.loads(own.read_text())
    except (OSError, ValueError):
        return False
    rows = next(one for one in report["artifacts"] if one["id"] == artifact)["checks"]
    return any(row["name"] == "divergence.same_top" and row["value"] is not None for row in rows)


MAKE_READ_ONLY = """
import os, subprocess
def pytest_collection_finish(session):
    subprocess.run(["mount", "-o", "remount,ro", os.environ["DISK"]], check=True)
"""


@pytest.mark.parametrize(
    ("size", "more", "reason"),
    [
        ("16k", [], "No space left on device"),
        ("64m", ["-p", "make_read_only"], "Read-only file system"),
    ],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_nothing_costs_the_store_and_not_the_verdict(
    project: Project,
    toys: Callable[..., Path],
    tmp_path: Path,
    size: str,
    more: list[str],
    reason: str,
) -> None:
    disk, models = tmp_path / "disk", toys(good=Toy(noise=0.001))
    project.write("core.yaml", core_limits())
    project.write("make_read_only.py", MAKE_READ_ONLY)
    command = [script(), *gating(models), *CORE, "--qgate-thresholds=core.yaml", *more]

    seen = project.run(
        [*on_a_disk(disk, f"size={size}"), *command, f"--qgate-store={disk}"],
        PYTHONPATH=str(project.directory),
        DISK=str(disk),
    )

    assert seen.code == 0, seen.text
    verdicts = seen.verdicts("good")
    assert verdicts.pop("perplexity.increase") == "skipped"  # shown: the text is the reference's
    assert set(verdicts.values()) == {"pass"}
    said = [line for line in seen.lines if line.startswith("store:")]
    assert said == [
        f"store: {disk}/references: not everything could be kept ({reason}; disk: {disk}):"
        " the next run measures it again. Free some space or make it writable, or name another"
        " directory with --qgate-store DIR"
    ]
    assert "Traceback" not in seen.text
