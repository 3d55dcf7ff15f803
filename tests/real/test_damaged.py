"""Damage in an otherwise sound Q8_0 of a real model: never a pass, with the limits as shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.damage import PLANTED, claim_file_type
from tests.real.runs import LIKELIHOODS, QUALITY, QUICK, failed, gate, place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

pytestmark = pytest.mark.real
QUICKLY_SEEN = ("noisy", "scaled", "layers-swapped", "k-and-v", "end-moved", "nan")
"""By files and likelihoods alone; the mildest come first."""


@pytest.fixture(scope="module")
def damaged(
    smollm2: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """damaged(*names) -> a directory with the reference and these damaged copies of its Q8_0."""

    def make(*names: str) -> Path:
        directory = tmp_path_factory.mktemp("damaged")
        place(smollm2("F16"), directory / "original.gguf")
        for name in names:
            PLANTED[name].plant(smollm2("Q8_0"), directory / f"{name}.gguf")
        return directory

    return make


def test_files_and_likelihoods_show_most_damage_quickly(
    team: Project, damaged: Callable[..., Path]
) -> None:
    seen = gate(team, damaged(*QUICKLY_SEEN), *LIKELIHOODS, QUICK)

    assert seen.code == 1, seen.text
    for name in QUICKLY_SEEN:
        assert failed(seen, name) & set(PLANTED[name].rows), (name, seen.verdicts(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_each_damage_fails_a_row_that_is_there_for_it(
    team: Project, damaged: Callable[..., Path], name: str
) -> None:
    seen = gate(team, damaged(name), *QUALITY)

    assert seen.code == 1, seen.text
    assert failed(seen, name) & set(PLANTED[name].rows), seen.verdicts(name)


@pytest.mark.slow
def test_two_bits_that_are_called_four_fail(
    team: Project, smollm2: Callable[[str], Path], tmp_path: Path
) -> None:
    place(smollm2("F16"), tmp_path / "original.gguf")
    claim_file_type(smollm2("Q2_K"), tmp_path / "SmolLM2-135M-Q4_K_M.gguf")

    seen = gate(team, tmp_path, *LIKELIHOODS)

    assert seen.code == 1, seen.text
    assert "divergence.kl_mean" in failed(seen, "SmolLM2-135M-Q4_K_M")
