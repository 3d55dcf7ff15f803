"""Sound files of real models: whatever they are called and however they lie on disk, they pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.controls import CONTROLS, write_controls
from tests.real.runs import LIKELIHOODS, QUALITY, QUICK, gate, gather, judged, not_passed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

pytestmark = pytest.mark.real
LEADING = "divergence.kl_mean"
STORED_SOUNDLY = ("F16", "BF16", "Q8_0")


def test_eight_bits_of_a_real_model_pass(
    team: Project, smollm2: Callable[[str], Path], tmp_path: Path
) -> None:
    models = gather(tmp_path / "models", [smollm2("F16"), smollm2("Q8_0")])

    seen = gate(team, models, *LIKELIHOODS)

    assert not_passed(seen, "SmolLM2-135M-Q8_0") == {}
    assert judged(seen, "SmolLM2-135M-Q8_0")[LEADING] == "pass"
    assert seen.code == 0, seen.text


def test_clean_copies_of_a_tiny_model_pass(
    team: Project, stories260k: Path, tmp_path: Path
) -> None:
    reference = stories260k / "stories260K-f32.gguf"
    models = tmp_path / "models"
    write_controls(stories260k / "stories260K-q8_0.gguf", models)

    seen = gate(team, models, f"--qgate-reference={reference}", *QUALITY, QUICK)

    for control in CONTROLS:
        assert not_passed(seen, control) == {}, control
        assert judged(seen, control)[LEADING] == "pass", control
    assert seen.code == 0, seen.text


@pytest.mark.slow
def test_clean_copies_of_a_real_model_pass(
    team: Project, smollm2: Callable[[str], Path], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    write_controls(smollm2("Q8_0"), models)

    seen = gate(team, models, f"--qgate-reference={smollm2('F16')}", *QUALITY)

    for control in CONTROLS:
        assert not_passed(seen, control) == {}, control
        assert judged(seen, control)[LEADING] == "pass", control
    assert seen.code == 0, seen.text


@pytest.mark.slow
def test_sixteen_and_eight_bits_pass_every_row_of_quality(
    team: Project, smollm2: Callable[[str], Path], tmp_path: Path
) -> None:
    models = gather(tmp_path / "models", map(smollm2, STORED_SOUNDLY))

    seen = gate(team, models, f"--qgate-reference={smollm2('F32')}", *QUALITY)

    for kind in STORED_SOUNDLY:
        artifact = f"SmolLM2-135M-{kind}"
        assert not_passed(seen, artifact) == {}, artifact
        assert judged(seen, artifact)[LEADING] == "pass", artifact
    assert seen.code == 0, seen.text
