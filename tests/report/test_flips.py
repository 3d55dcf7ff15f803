"""Answers that changed for the worse, as the table that MLflow shows."""

from __future__ import annotations

import json

from qgate.report.flips import tabulate_flips

WORST = {"prompt": "2 + 2 =", "expected": " 4", "reference": " 4", "artifact": " 5"}


def test_a_flip_is_a_row_with_both_answers() -> None:
    checks = [
        {"name": "accuracy.sums", "details": {"worst": [WORST]}},
        {"name": "edge.repetition", "details": {"worst": [{**WORST, "expected": ""}]}},
        {"name": "perplexity.ratio", "details": {"worst": [{"window": 3, "nll": 2.0}]}},
        {"name": "memory.peak", "details": {}},
    ]
    table = tabulate_flips({"artifacts": [{"id": "q4", "checks": checks}]})
    assert table["columns"][:3] == ["artifact", "check", "prompt"]
    assert table["data"] == [
        ["q4", "accuracy.sums", "2 + 2 =", " 4", " 4", " 5"],
        ["q4", "edge.repetition", "2 + 2 =", "", " 4", " 5"],
    ]
    assert json.loads(json.dumps(table)) == table
