"""What the stories of real models share: a directory of files, the command, and what came of it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from tests.plugin.conftest import CLOSED_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

QUICK = "--qgate-effort=quick"
LIKELIHOODS = ("-m", "integrity or perplexity")
QUALITY = ("-m", "not latency and not memory")
"""What is the same on any machine, whatever else runs there."""
BAD = frozenset({"fail", "error"})


def gate(team: Project, models: Path, *arguments: str | Path) -> Outcome:
    """`pytest --qgate=MODELS ...` as a user types it, with the shipped limits."""
    seen = team.pytest(
        f"--qgate={models}",
        f"--qgate-mlflow-uri={CLOSED_PORT}",
        *arguments,
        OMP_WAIT_POLICY="passive",
    )
    assert "Traceback" not in seen.text, seen.text
    return seen


def gather(directory: Path, files: Iterable[Path]) -> Path:
    """A directory with these files, under their names."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        place(file, directory / file.name)
    return directory


def place(source: Path, target: Path) -> Path:
    """The same file under another path, without its bytes a second time where that can be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def judged(seen: Outcome, artifact: str) -> dict[str, str]:
    """Verdicts of the rows that were run, by row."""
    return {row: one for row, one in seen.verdicts(artifact).items() if one != "incomplete"}


def failed(seen: Outcome, artifact: str) -> set[str]:
    """Rows that say that something is wrong with the artifact."""
    return {row for row, verdict in judged(seen, artifact).items() if verdict in BAD}


def not_passed(seen: Outcome, artifact: str) -> dict[str, str]:
    """Rows that neither pass nor are skipped, with what they say."""
    rows = judged(seen, artifact)
    return {
        row: seen.message(artifact, row)
        for row, verdict in rows.items()
        if verdict not in ("pass", "skipped")
    }
