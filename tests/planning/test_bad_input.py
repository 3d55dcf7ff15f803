"""Paths, names and files of which no run can be made: one line, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.planning.options import RunOptions
from qgate.planning.plan import plan_run
from tests.conftest import Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.planning.conftest import Refuse

    Toys = Callable[..., Path]


def test_an_effort_that_there_is_not(refuse: Refuse, toys: Toys) -> None:
    assert refuse(toys(good=Toy()), thresholds=None, effort="through") == (
        "--qgate-effort: got 'through'; expected one of quick, standard, thorough."
        " Did you mean 'thorough'?"
    )


def test_an_empty_directory(project: Path, refuse: Refuse) -> None:
    assert refuse(project, thresholds=None) == (
        f"--qgate: {project} contains no artifact (looked for config.json and *.gguf, 0 files)."
    )


def test_only_the_original(refuse: Refuse, toys: Toys) -> None:
    models = toys()
    assert refuse(models, thresholds=None) == (
        f"--qgate: {models}: got only the original (original);"
        " expected at least one artifact to hold against it"
    )


def test_two_possible_originals(project: Path, refuse: Refuse, toys: Toys) -> None:
    models = toys(good=Toy(), copy=Toy(scheme="F32"))
    assert refuse(models, thresholds=None) == (
        "--qgate-reference: 2 artifacts could be the original: copy, original."
        " Name one with --qgate-reference PATH."
    )
    named = RunOptions(
        paths=(models,), directory=project, reference=models / "original.gguf", runtime="fake"
    )
    plan = plan_run(named)
    assert plan.require_reference().id == "original"
    assert {one.artifact.id for one in plan.artifacts} == {"good", "copy"}


def test_an_unknown_runtime_name(refuse: Refuse, toys: Toys) -> None:
    line = refuse(toys(good=Toy()), thresholds=None, runtime="lama_cpp")
    assert line.startswith("--qgate-runtime: unknown runtime: got 'lama_cpp'; expected one")
    assert line.endswith("Did you mean 'llama_cpp'?")


THRESHOLDS = {
    "a row that does not exist": (
        "version: 1\nlimits:\n  perplexity.ration: {max: 1.2}\n",
        "limits.yaml:3: unknown check 'perplexity.ration' in limits."
        " Did you mean 'perplexity.ratio'?",
    ),
    "a duplicate key": (
        "version: 1\nlimits:\n  perplexity.ratio: {max: 1.2}\n  perplexity.ratio: {max: 9}\n",
        "limits.yaml:4: duplicate key 'perplexity.ratio'",
    ),
    "a wrong unit": (
        "version: 1\nlimits:\n  perplexity.ratio: {max: 5%}\n",
        "limits.yaml:3: perplexity.ratio.max: got '5%'; expected a number >= 1.0"
        " (artifact / reference). Write 1.05 for 5 % more.",
    ),
    "an empty file": ("", "limits.yaml:1: "),
    "a file without limits": ("version: 1\ninherit: none\n", "limits.yaml:"),
    "no file": (None, "limits.yaml: "),
}


@pytest.mark.parametrize("case", THRESHOLDS)
def test_a_wrong_thresholds_file_is_refused_with_its_line(
    project: Path, refuse: Refuse, toys: Toys, case: str
) -> None:
    text, beginning = THRESHOLDS[case]
    if text is not None:
        (project / "limits.yaml").write_text(text)

    assert refuse(toys(good=Toy())).startswith(beginning)
