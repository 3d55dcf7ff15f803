"""Plans of runs over toy models, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import QGateError
from qgate.planning.options import RunOptions
from qgate.planning.plan import plan_run

if TYPE_CHECKING:
    from pathlib import Path

Refuse = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that a run is started in."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def refuse(project: Path) -> Refuse:
    """refuse(models, **options) -> why no run is made of them; `limits.yaml` holds if it is there.

    pytest ends with that line and exit code 4 (tests/plugin/test_bad_input.py).
    """

    def plan(models: Path, **options: Any) -> str:
        named = {"thresholds": project / "limits.yaml", "runtime": "fake", **options}
        with pytest.raises(QGateError) as caught:
            plan_run(RunOptions(paths=(models,), directory=project, **named))
        assert not (project / ".qgate").exists()
        return str(caught.value)

    return plan
