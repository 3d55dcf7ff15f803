from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError, UsageError
from qgate.report.report_file import check_writable, read, write, write_json

if TYPE_CHECKING:
    from qgate.records import Report


def test_what_was_written_is_read_back_as_it_was(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "made" / "on the way" / "report.json"
    write(report, path)
    assert read(path) == report


def test_nothing_is_left_beside_the_report(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    check_writable(path)
    assert list(tmp_path.iterdir()) == []
    write(report, path)
    write(report, path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_stored_leaves_the_old_one_intact(
    report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    write(report, path)
    before = path.read_bytes()
    broken = report.to_json()
    broken["artifacts"][1]["measured"]["scoring_s"] = float("nan")
    with pytest.raises(MeasurementError) as caught:
        write_json(broken, path)
    assert str(caught.value) == (
        "report.artifacts[1].measured.scoring_s: cannot be stored: got nan; expected texts, "
        "finite numbers, booleans, null, lists or objects. "
        "This is a bug in the check that made it."
    )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_while_it_is_written_sees_the_old_report_whole(
    report: Report, passing: Report, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    write(report, path)
    before = path.read_bytes()
    with path.open("rb") as reader:
        write(passing, path)
        assert reader.read() == before
    assert path.read_bytes() != before


FULL_DISK = """
import resource, sys
from pathlib import Path
from qgate.errors import UsageError
from qgate.report.report_file import read, write
path = Path(sys.argv[1])
report = read(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write(report, path)
except UsageError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_report_intact(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write(report, path)
    before = path.read_bytes()
    assert len(before) > 1000
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"{path}: the report cannot be written: got File too large; expected a writable file. "
        "Name another one with --qgate-json FILE.\n"
    )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_name_that_is_no_utf8_survives(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    odd = report.to_json()
    odd["artifacts"][0]["id"] = "model\udcff ü"
    write_json(odd, path)
    path.read_text(encoding="utf-8")
    assert read(path).artifacts[0].id == "model\udcff ü"


def test_an_unwritable_path_is_refused_before_the_run_and_after(
    report: Report, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    expected = {
        tmp_path / "file" / "x.json": "got a path inside a file; expected a file.",
        tmp_path / "file" / "x" / "x.json": "got Not a directory; expected a writable file.",
        tmp_path: "got a directory; expected a file.",
    }
    for path, complaint in expected.items():
        with pytest.raises(UsageError) as early:
            check_writable(path)
        with pytest.raises(UsageError) as late:
            write(report, path)
        remedy = "Name another one with --qgate-json FILE."
        message = f"{path}: the report cannot be written: {complaint} {remedy}"
        assert {str(early.value), str(late.value)} == {message}


REFUSED = [
    (b"", "not JSON: got 'Expecting value' at column 1; expected an object. Name a report that "),
    (b"{}", "is not a report: got no schema_version; expected a report that qgate wrote."),
    (b"[1]", "is not a report: got no schema_version; expected a report that qgate wrote."),
    (b'{"schema_version": 2}', "schema_version: got 2; expected 1. Read it with the qgate that "),
    (b'{"schema_version": true}', "schema_version: got true; expected 1."),
    (b'{"schema_version": NaN}', "not JSON: got NaN; expected finite numbers."),
    (b'{"schema_version": 1e999}', "not JSON: got 1e999; expected finite numbers."),
    (b"\xff\xfe\xff", "not UTF-8: got byte 0xff"),
    (b"[" * 100_000, "not JSON: got too many levels"),
    (b'{"schema_version": 1}', "verdict: got nothing; expected one of pass, fail,"),
    (b'{"schema_version": 1, "schema_version": 1}', "not JSON: got the key 'schema_version' twice"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_report_is_refused_in_one_line(
    data: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


ROW = ("artifacts", 0, "checks", 1)
DAMAGED: list[tuple[tuple[str | int, ...], object, str]] = [
    (("verdict",), "PASS", "verdict: got 'PASS'; expected one of pass, fail, inconclusive, error"),
    (("artifacts",), {}, "artifacts: got an object; expected a list."),
    (("artifacts", 0), [], "artifacts[0]: got a list; expected an object."),
    (("artifacts", 1, "checks"), None, "artifacts[1]: checks: got nothing; expected a list."),
    (("artifacts", 0, "size_bytes"), True, "artifacts[0]: size_bytes: got true; expected an int"),
    (("artifacts", 0, "size_bytes"), 10**400, "artifacts[0]: size_bytes: got a number of 401 d"),
    (
        ("artifacts", 0, "measured"),
        {"s": "1"},
        "artifacts[0]: measured.s: got '1'; expected a ",
    ),
    (("artifacts", 0, "from_store"), {"answers": 1}, "artifacts[0].from_store.answers: got 1; exp"),
    ((*ROW, "verdict"), "maybe", "artifacts[0].checks[1]: verdict: got 'maybe'; expected one of "),
    ((*ROW, "value"), "1", "artifacts[0].checks[1]: value: got '1'; expected a finite number."),
    ((*ROW, "value"), 10**400, "artifacts[0].checks[1]: value: got a number of 401 digits; expect"),
    ((*ROW, "low"), None, "artifacts[0].checks[1]: low: got nothing; expected a finite number."),
    ((*ROW, "low"), 9, "artifacts[0].checks[1]: estimate: got (0.0012, 9, 0.0013); expected low <"),
    ((*ROW, "limit"), {}, "artifacts[0].checks[1].limit: source: got nothing; expected a text"),
    (
        (*ROW, "limit", "max"),
        "much",
        "artifacts[0].checks[1].limit: max: got 'much'; expected a f",
    ),
    (
        (*ROW, "limit", "source"),
        f"x:{'9' * 5000}",
        "artifacts[0].checks[1].limit: source: got 'x:9",
    ),
    ((*ROW, "limit", "source"), "x:", "artifacts[0].checks[1].limit: source: got 'x:'; expected F"),
    ((*ROW, "details", "kl_by"), {"slice": 1}, "artifacts[0].checks[1].details: kl_by.slice: got "),
    (("reference", "perplexity"), {"value": "x"}, "reference.perplexity: value: got 'x'; expected"),
]


@pytest.mark.parametrize(("place", "value", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_report_is_refused_by_the_place_of_the_damage(
    place: tuple[str | int, ...], value: object, message: str, report: Report, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    damaged = json.loads(json.dumps(report.to_json()))
    target: Any = damaged
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    path.write_text(json.dumps(damaged), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_report_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: cannot be read: No such file or directory; expected a report that qgate wrote."
    )
