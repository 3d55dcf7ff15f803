"""The claim behind the shipped limits: sound files pass in each of twenty runs, whatever the seed.

    pytest -m "real and slow" tests/real/test_seeds.py -s

A seed chooses the text, the prompts of edge cases and the long texts. It takes hours at `standard`:
QGATE_TEST_SEEDS=5 (or 5:10), QGATE_TEST_KINDS=Q8_0 and QGATE_TEST_EFFORT=quick take a part of it.
The table says of each artifact in how many runs each row of quality passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.real.controls import store_as
from tests.real.runs import QUALITY, gate, judged, not_passed, place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.plugin.conftest import Project

pytestmark = [pytest.mark.real, pytest.mark.slow]
BEGIN, _, END = os.environ.get("QGATE_TEST_SEEDS", "0:20").rpartition(":")
SEEDS = range(int(BEGIN or "0"), int(END))
EFFORT = f"--qgate-effort={os.environ.get('QGATE_TEST_EFFORT', 'standard')}"
SOUND = tuple(os.environ.get("QGATE_TEST_KINDS", "F32 F16 BF16 Q8_0").split())
MODELS = ("demo", "smollm2", "stories260K")


@pytest.fixture(params=MODELS)
def sound(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A reference, and a directory with the same model in 32, 16 and 8 bits."""
    reference: Path
    if request.param == "smollm2":
        reference = request.getfixturevalue("smollm2")("F16")
    elif request.param == "stories260K":
        reference = request.getfixturevalue("stories260k") / "stories260K-f32.gguf"
    else:
        make = [sys.executable, "-m", "qgate.demo", str(tmp_path / "demo")]
        subprocess.run(make, check=True, capture_output=True, timeout=600)
        reference = tmp_path / "demo" / "qgate-demo-F16.gguf"
    models = tmp_path / "models"
    models.mkdir()
    for kind in SOUND:
        store_as(reference, models / f"{kind}.gguf", kind)
    return place(reference, tmp_path / "original.gguf"), models


def test_sound_files_pass_with_every_seed(team: Project, sound: tuple[Path, Path]) -> None:
    reference, models = sound
    passed: Counter[tuple[str, str]] = Counter()
    wrong: list[str] = []
    for seed in SEEDS:
        limits = team.write(f"seed-{seed}.yaml", f"version: 1\ntext: {{seed: {seed}}}\n")
        named = (f"--qgate-reference={reference}", f"--qgate-thresholds={limits}")
        seen = gate(team, models, *named, *QUALITY, EFFORT)
        for kind in SOUND:
            passed.update(
                (kind, row) for row, verdict in judged(seen, kind).items() if verdict == "pass"
            )
            wrong += [f"seed {seed}: {kind}: {why}" for why in not_passed(seen, kind).values()]

    print("\n".join(_table(passed)))  # noqa: T201 - the table is what the run is for
    assert wrong == []
    assert {passed[kind, "divergence.kl_mean"] for kind in SOUND} == {len(SEEDS)}


def _table(passed: Counter[tuple[str, str]]) -> Iterator[str]:
    """`row | F32 | F16 | BF16 | Q8_0`: in how many runs it passed (a skipped row: 0)."""
    yield " | ".join(["row", *SOUND])
    for row in sorted({row for _, row in passed}):
        yield " | ".join([row, *(f"{passed[kind, row]}/{len(SEEDS)}" for kind in SOUND)])
