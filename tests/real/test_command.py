"""`pytest --qgate=DIR` over real files as a user types it: one command, exit code and table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.runs import QUALITY, QUICK, failed, gate, gather, not_passed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

pytestmark = pytest.mark.real


def test_a_sound_file_passes_beside_one_of_four_bits_that_fails(
    team: Project, stories260k: Path, tmp_path: Path
) -> None:
    """Rounded to four bits, this tiny model is another one: KL 0.12, same top 81.5 %."""
    names = ("stories260K-f32.gguf", "stories260K-q8_0.gguf", "stories260K-q4_0.gguf")
    models = gather(tmp_path / "models", [stories260k / name for name in names])

    seen = gate(team, models, *QUALITY, QUICK)

    assert not_passed(seen, "stories260K-q8_0") == {}
    assert "divergence.kl_mean" in failed(seen, "stories260K-q4_0")
    assert seen.code == 1, seen.text


@pytest.mark.slow
def test_the_whole_checklist_of_a_real_model(
    team: Project, smollm2: Callable[[str], Path], tmp_path: Path
) -> None:
    """Eight bits pass in quality; five bits by fallback, called Q2_K, fail."""
    kinds = ("F16", "Q8_0", "Q4_K_M", "Q2_K")
    models = gather(tmp_path / "models", map(smollm2, kinds))

    seen = gate(team, models)

    timed = ("latency.", "memory.")
    wrong = {row for row in not_passed(seen, "SmolLM2-135M-Q8_0") if not row.startswith(timed)}
    assert wrong == set()
    assert "divergence.kl_mean" in failed(seen, "SmolLM2-135M-Q2_K")
    assert seen.code == 1, seen.text
