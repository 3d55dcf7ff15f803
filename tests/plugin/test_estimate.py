"""How long a run will take is said before anything is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.conftest import Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

ESTIMATE = re.compile(r"qgate: about \d+ (s|min): (\d artifacts?), (\w+)")


def test_the_time_of_the_picked_rows_stands_below_the_number_of_them(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(first=Toy(noise=0.001), second=Toy(noise=0.001))

    seen = project.gate(models, "-k", "kl_mean")

    assert seen.code == 0, seen.text
    collected = next(n for n, line in enumerate(seen.lines) if line.startswith("collected "))
    said = ESTIMATE.fullmatch(seen.lines[collected + 1])
    assert said is not None, seen.lines[collected + 1]
    assert said.groups()[1:] == ("2 artifacts", "standard")


def test_where_answers_are_kept_it_may_take_less(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(first=Toy(noise=0.001))

    first, second = (project.gate(models, "-k", "kl_mean") for _ in range(2))

    assert "less where" not in first.text
    (told,) = (line for line in second.lines if line.startswith("qgate: about "))
    assert told.endswith(" s, less where answers are kept: 1 artifact, standard")


def test_where_only_files_are_read_nothing_is_estimated(
    project: Project, toys: Callable[..., Path]
) -> None:
    seen = project.gate(toys(first=Toy(noise=0.001)), "-m", "integrity")

    assert "collected " in seen.text
    assert "qgate: about " not in seen.text
