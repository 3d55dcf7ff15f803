"""`python -m qgate`, as CI starts it."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import digest, discover
from qgate.errors import UsageError
from qgate.report.report_file import write, write_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.records import Report

ROOT = Path(__file__).parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qgate", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_report_that_holds_is_verified(passing: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(passing, path)
    done = _run("verify", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: pass, 1 artifact\n"


def _set(*place: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    def change(report: Any) -> None:
        for key in place[:-1]:
            report = report[key]
        report[place[-1]] = to

    return change


ROW = ("artifacts", 0, "checks", 2)
REFUSED = [
    (_set("verdict", to="fail"), "verdict: got 'fail'; expected 'pass'."),
    (_set("verdict", to="incomplete"), "verdict: got 'incomplete'; expected 'pass'."),
    (_set("artifacts", to=[]), "artifacts: got none; expected at least one."),
    (
        _set("artifacts", 0, "verdict", to="error"),
        "qgate-demo-Q8_0: verdict: got 'error'; expected 'pass'.",
    ),
    (
        _set("artifacts", 0, "checks", to=[]),
        "qgate-demo-Q8_0: rows: got none that was measured; expected at least one.",
    ),
    (
        _set(*ROW, "verdict", to="skipped"),
        "qgate-demo-Q8_0: divergence.same_top: got 'skipped'; expected 'pass', it has a limit.",
    ),
    *(
        (
            _set(*ROW, "verdict", to=word),
            f"qgate-demo-Q8_0: divergence.same_top: got {word!r}; expected 'pass'.",
        )
        for word in ("fail", "error", "inconclusive", "incomplete")
    ),
]


@pytest.mark.parametrize(("change", "why"), REFUSED, ids=range(len(REFUSED)))
def test_a_report_that_does_not_hold_is_refused_in_one_line(
    change: Callable[[dict[str, Any]], None],
    why: str,
    passing: Report,
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.json"
    report_json = copy.deepcopy(passing.to_json())
    change(report_json)
    write_json(report_json, path)
    done = _run("verify", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{path}: {why}\n"


def test_rows_that_are_all_skipped_are_no_pass(passing: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report_json = json.loads(json.dumps(passing.to_json()))
    for check in report_json["artifacts"][0]["checks"]:
        check.update(verdict="skipped", limit=None)
    write_json(report_json, path)
    assert _run("verify", str(path)).returncode == 1
    report_json["artifacts"][0]["checks"][0]["verdict"] = "pass"
    write_json(report_json, path)
    assert _run("verify", str(path)).returncode == 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Hugging Face directory with a header and one tensor of two bytes."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    tensors = b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}'
    data = len(tensors).to_bytes(8, "little") + tensors + b"\x00\x3c"
    (directory / "model.safetensors").write_bytes(data)
    return directory


def test_a_model_is_verified_by_its_bytes_not_by_its_name(
    passing: Report, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    report_json = passing.to_json()
    (artifact,) = discover([model])
    assert artifact.problem is None
    report_json["artifacts"][0]["digest"] = digest(artifact)
    write_json(report_json, path)
    assert _run("verify", str(path), "--artifact", str(model)).returncode == 0
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x3d")
    done = _run("verify", str(path), "--artifact", str(model))
    actual = digest(discover([model])[0])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{path}: {model}: digest: got {actual}; expected one that the report holds.\n"
    )


WRONG = [
    ((), "python -m qgate: the following arguments are required: COMMAND"),
    (("verify",), "python -m qgate verify: the following arguments are required: REPORT"),
    (("verify", "none.json"), "none.json: cannot be read: No such file or directory; expected a"),
    (("upload", "none.json"), "none.json: cannot be read: No such file or directory; expected a"),
    (("verify", str(ROOT / "pyproject.toml")), f"{ROOT / 'pyproject.toml'}: not JSON: got 'Ex"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_argument_or_report_is_exit_code_4_and_one_line(
    arguments: tuple[str, ...], message: str
) -> None:
    done = _run(*arguments)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_a_model_that_is_not_there_is_exit_code_4(passing: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(passing, path)
    done = _run("verify", str(path), "--artifact", str(tmp_path / "none.gguf"))
    with pytest.raises(UsageError) as caught:
        discover([tmp_path / "none.gguf"])
    assert (done.returncode, done.stderr) == (4, f"{caught.value}\n")


def test_an_address_that_is_no_text_is_exit_code_4(passing: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_json({**passing.to_json(), "mlflow": {"uri": 5}}, path)
    done = _run("upload", str(path))
    assert (done.returncode, done.stderr) == (4, f"{path}: mlflow: uri: got 5; expected a text.\n")
