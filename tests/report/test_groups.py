"""The mean divergence by groups of tokens, in the table of a run with -v."""

from __future__ import annotations

from typing import Any

from qgate.records import ArtifactReport, Record, Verdict
from qgate.report.groups import list_groups
from tests.report.conftest import make_artifact


def artifact(**details: Any) -> ArtifactReport:
    row = Record(name="divergence.kl_mean", verdict=Verdict.PASS, message="", details=details)
    return make_artifact("a", "Q4_0", 1, Verdict.PASS, row)


KL_BY = {
    "confidence": {"0 to 0.25": {"n": 1433, "kl_mean_nats": 0.0090115}},
    "slice": {
        "chat": {"n": 865, "kl_mean_nats": 0.0039},
        "co\nde": {"n": 414, "kl_mean_nats": 1.5},
    },
    "position": {"1 of 4": {"n": 557, "kl_mean_nats": 0.0}},
}


def test_each_way_to_group_is_a_line() -> None:
    assert [line.text for line in list_groups(artifact(kl_by=KL_BY), 200)] == [
        "  mean KL by the reference's probability of its first token: 0 to 0.25 0.00901"
        " (n = 1 433)",
        "  mean KL by slice: chat 0.0039 (n = 865), co\\nde 1.5 (n = 414)",
        "  mean KL by quarter of the window: 1 of 4 0 (n = 557)",
    ]


def test_a_narrow_terminal_gets_more_lines() -> None:
    lines = [line.text for line in list_groups(artifact(kl_by=KL_BY), 60)]

    assert max(map(len, lines)) <= 60
    assert len(lines) > 3


def test_a_row_that_compared_nothing_shows_nothing() -> None:
    assert list_groups(artifact(), 200) == []
