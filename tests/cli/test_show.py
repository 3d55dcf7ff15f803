"""`qgate show`: a finished report, looked at again."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qgate.cli.main import main
from qgate.report.report_file import write, write_json
from qgate.report.table import render
from qgate.report.text import count_cells
from tests.conftest import ROOT
from tests.report.full_report import full_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.records import Report

EVIDENCE: dict[str, dict[str, Any]] = {
    "divergence.kl_mean": {
        "kl_by": {
            "slice": {
                "code": {"n": 812, "kl_mean_nats": 0.31},
                "\x1b[2J": {"n": 1, "kl_mean_nats": 0},
            }
        },
        "worst_windows": [{"window": 14, "kl_mean_nats": 0.597, "nll_increase_nats": 0.755}],
    },
    "accuracy.drill": {
        "share": 0.4, "reference_share": 0.9, "lost": 31, "gained": 1,
        "worst": [{"prompt": "7 + 5 =", "expected": " 12", "reference": " 12", "artifact": " 11"}],
    },
    "edge.multilingual": {
        "member": "hi",
        "members": {
            "en": {"value": 1.01, "low": 1.0, "high": 1.02, "n": 105},
            "hi": {"value": 1.31, "low": 1.28, "high": 1.34, "n": 1284},
        },
    },
}  # fmt: skip
DAMAGED, SOUND = "qgate-demo-Q2_K", "qgate-demo-Q4_K_M"


def report() -> Report:
    """Two artifacts, the damaged one with evidence."""
    whole = full_report()
    sound, damaged = whole.artifacts
    rows = tuple(
        dataclasses.replace(row, details={**row.details, **EVIDENCE.get(row.name, {})})
        for row in damaged.records
    )
    return dataclasses.replace(whole, artifacts=(sound, dataclasses.replace(damaged, records=rows)))


@pytest.fixture
def show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Types the command in a project that a run has left: exit code, what is printed, errors."""
    monkeypatch.chdir(tmp_path)
    write(report(), tmp_path / ".qgate" / "report.json")

    def type_it(*words: str, width: int = 100) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(width))
        code = main(["show", *words])
        return code, *capsys.readouterr()

    return type_it


def test_without_a_name_it_is_the_table_of_the_run(show: Callable[..., Any]) -> None:
    for width in (80, 100):
        table = "".join(f"{line.text}\n" for line in render(report(), width))
        assert show(width=width) == (0, table, "")


def test_an_artifact_is_its_rows_in_words(show: Callable[..., Any]) -> None:
    code, page, _ = show(DAMAGED)

    assert code == 0
    assert page.startswith(f"{DAMAGED}  Q2_K  1.7 MB")
    lines = page.splitlines()
    begin = lines.index("divergence.kl_mean  INCONCLUSIVE")
    claim, *judged = lines[begin + 1 : begin + 4]
    assert claim == "  Mean KL(reference || artifact) of the next-token distributions."
    found = "0.121 [0.0550, 0.127], limit 0.0600 (95 % CI, n = 16 320 tokens; "
    assert " ".join(map(str.strip, judged)).startswith(f"{found}thresholds/default.yaml:14)")
    assert "memory.growth  ERROR\n  Memory that each further" in page
    assert "expected 60 batches." in page
    assert page.endswith(f"Where the damage is: qgate show accuracy.drill {DAMAGED}\n")
    assert SOUND not in page


def test_a_row_is_shown_of_every_artifact_with_where_its_damage_is(
    show: Callable[..., Any],
) -> None:
    _, page, _ = show("divergence.kl_mean")

    assert [line for line in page.splitlines() if line.startswith("qgate-demo")] == [
        f"{SOUND}  PASS",
        f"{DAMAGED}  INCONCLUSIVE",
    ]
    assert page.endswith("""\
  mean KL by slice
    group    mean KL  tokens
    code        0.31     812
    \\x1b[2J        0       1
  the worst windows of text, in nats a token
    window  mean KL    loss
    14        0.597  +0.755
""")


def test_a_row_of_one_artifact_shows_its_parts_and_its_flips(show: Callable[..., Any]) -> None:
    _, parts, _ = show("edge.multilingual", DAMAGED)
    assert parts.endswith("""\
    part          value        interval      n
    en            1.010  [1.000, 1.020]    105
    hi (decides)  1.310  [1.280, 1.340]  1 284
""")
    assert SOUND not in parts
    _, flips, _ = show(DAMAGED, "accuracy.drill")
    assert flips.endswith("""\
  share: 40.0 %, of the reference 90.0 %; flips: 31 to the worse, 1 to the better
  1. prompt    7 + 5 =
     expected   12
     reference  12
     artifact   11
""")


@pytest.mark.parametrize("width", [60, 80])
def test_what_is_in_words_fits_the_terminal(show: Callable[..., Any], width: int) -> None:
    for words in ((DAMAGED,), ("divergence.kl_mean",), ("edge.multilingual",)):
        _, page, _ = show(*words, width=width)
        lines = page.splitlines()
        long = [line for line in lines if count_cells(line) > width]
        assert [line for line in long if not line.startswith("Where the damage is")] == []


UNKNOWN = "; expected a row, such as integrity.files, or an artifact: " + f"{SOUND}, {DAMAGED}."


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("divergence.kl_man", f"'divergence.kl_man'{UNKNOWN} Did you mean 'divergence.kl_mean'?"),
        ("Q2_K", f"'Q2_K'{UNKNOWN} Did you mean '{DAMAGED}'?"),
        ("\x1b[2J", f"'\\x1b[2J'{UNKNOWN}"),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(
    show: Callable[..., Any], name: str, end: str
) -> None:
    line = f".qgate/report.json: no such row or artifact: got {end}\n"
    assert show(name) == (4, "", line)


def test_a_report_that_is_not_there_or_is_none_is_one_line(
    show: Callable[..., Any], tmp_path: Path
) -> None:
    none = "none.json: no such report; expected one that a run wrote. Type: pytest --qgate=DIR, "
    assert show("--report", "none.json") == (4, "", f"{none}or name it with --report PATH\n")
    future = {**json.loads(json.dumps(report().to_json())), "schema_version": 2}
    write_json(future, tmp_path / "future.json")
    line = "future.json: schema_version: got 2; expected 1. Read it with the qgate that wrote it.\n"
    assert show("--report", "future.json") == (4, "", line)
    (tmp_path / "cut.json").write_bytes((tmp_path / ".qgate" / "report.json").read_bytes()[:999])
    code, page, error = show("--report", "cut.json")
    assert (code, page, error.count("\n")) == (4, "", 1)
    assert error.startswith("cut.json: not JSON: got 'Unterminated string")


def test_a_report_that_cannot_be_looked_at_is_one_line(show: Callable[..., Any]) -> None:
    code, page, error = show("--report", "x" * 300)
    assert (code, page) == (4, "")
    assert error.endswith(
        "cannot be read: File name too long; expected a report that qgate wrote.\n"
    )


def test_a_terminal_that_is_not_utf8_gets_the_table_and_no_unit_steers_it(
    tmp_path: Path,
) -> None:
    whole = json.loads(json.dumps(report().to_json()))
    for row in whole["artifacts"][0]["checks"]:
        row["unit"] = row["unit"] and "\x1b[31mH"
    write_json(whole, tmp_path / "report.json")
    command = [sys.executable, "-m", "qgate", "show", "--report", "report.json"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\x1b[31mH" in done.stdout
    assert b"\x1b" not in done.stdout
