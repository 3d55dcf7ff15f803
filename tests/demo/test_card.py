"""The numbers on the model's card are those that the model really reaches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from qgate.demo.formats.gguf_convert import convert
from qgate.demo.formats.gguf_quantize import quantize
from qgate.demo.training.skills import measure

if TYPE_CHECKING:
    from pathlib import Path

TASKS = ("arithmetic", "classification", "code", "next_sentence", "recall_near", "language_en")


def column(scheme: str) -> dict[str, float]:
    """Return a column of the card's table by the name of the row."""
    lines = (model_directory() / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    head = next(row for row in rows if scheme in row)
    at = head.index(scheme)
    return {
        row[0].split(" (")[0]: float(row[at].removesuffix(" %"))
        for row in rows
        if len(row) == len(head) and re.match(r"[0-9.]+( %)?$", row[at])
    }


def test_the_card_tells_of_every_scheme_and_falls_with_the_bits() -> None:
    f16, q8, q2 = (column(scheme) for scheme in ("F16", "Q8_0", "Q2_K"))
    assert f16.keys() == q8.keys() == q2.keys()
    assert abs(q8["perplexity"] / f16["perplexity"] - 1) < 0.02
    assert q2["perplexity"] > q8["perplexity"]


@pytest.mark.slow
def test_the_cards_numbers_can_be_measured_again(tmp_path: Path) -> None:
    for name in ("llama_cpp", "gguf", "safetensors"):
        pytest.importorskip(name)
    original, target = tmp_path / "f16.gguf", tmp_path / "q8.gguf"
    convert(model_directory(), original)
    quantize(original, target, "Q8_0")
    told, again = column("Q8_0"), measure(target, 100, 60, TASKS)
    assert again["perplexity"] == pytest.approx(told["perplexity"], rel=0.01)
    # The first 100 of 200 questions: 8 points are more than three standard errors at 90 %.
    for task in TASKS:
        assert again[task] == pytest.approx(told[task], abs=8), task
