"""`qgate show [ROW|ARTIFACT ...]`: read a finished report; decides nothing."""

from __future__ import annotations

import io
import os
import shutil
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.report.report_file import read
from qgate.thresholds.values import did_you_mean
from qgate.untrusted.text import listed, quoted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from qgate.records import Report
    from qgate.report.rows import Line

_COLOURS: Mapping[str, str] = MappingProxyType(
    {"bold": "1", "red": "31", "green": "32", "yellow": "33"}
)


def run_show(options: argparse.Namespace) -> int:
    """Print the table, an artifact's rows in words, or one row of every artifact."""
    path: Path = options.report
    try:
        is_there = path.exists()
    except OSError:  # a name too long, a directory without permission: `read` names it
        is_there = True
    if not is_there:
        raise UsageError(
            f"{path}: no such report; expected one that a run wrote. "
            "Type: pytest --qgate=DIR, or name it with --report PATH"
        )
    report = read(path)
    width = shutil.get_terminal_size().columns
    _print(_choose(report, options.names, width, path))
    return 0


def _choose(report: Report, names: Sequence[str], width: int, path: Path) -> Iterable[Line]:
    from qgate.report.in_words import artifact_in_words, row_in_words
    from qgate.report.table import render

    ids = [artifact.id for artifact in report.artifacts]
    rows = dict.fromkeys(row.name for artifact in report.artifacts for row in artifact.records)
    for name in names:
        if name not in ids and name not in rows:
            raise _unknown(name, ids, list(rows), path)
    artifacts = [one for one in report.artifacts if one.id in names]
    wanted = [name for name in rows if name in names]
    if not names:
        return render(report, width)
    if not wanted:
        return (line for one in artifacts for line in artifact_in_words(one, width))
    chosen = artifacts or report.artifacts
    found = {
        name: [(one, row) for one in chosen for row in one.records if row.name == name]
        for name in wanted
    }
    return (line for name in wanted for line in row_in_words(name, found[name], width))


def _unknown(name: str, ids: list[str], rows: list[str], path: Path) -> UsageError:
    parts = [known for known in (*ids, *rows) if name in known]
    hint = did_you_mean(name, [*ids, *rows]) or did_you_mean(parts[0] if parts else "", parts)
    example = rows[0] if rows else "divergence.kl_mean"
    return UsageError(
        f"{path}: no such row or artifact: got {quoted(name)}; expected a row, such as {example}, "
        f"or an artifact: {listed(ids) or 'none'}.{hint}"
    )


def _print(lines: Iterable[Line]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal cannot show must not end it
        sys.stdout.reconfigure(errors="replace")
    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    try:
        for line in lines:
            code = _COLOURS.get(line.style) if is_coloured else None
            sys.stdout.write(f"\x1b[{code}m{line.text}\x1b[0m\n" if code else f"{line.text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `qgate show | head`: whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
