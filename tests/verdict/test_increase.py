"""The increase of perplexity is judged on the text of which its limits were published."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from qgate.gate.row import Ledger, judge_row
from qgate.records import Artifact, Estimate, Limit, SourceLine, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHIPPED = SourceLine("thresholds/default.yaml", 92, is_shipped=True)
TEAMS = SourceLine("team.yaml", 3)
WIKITEXT, OWN = "wikitext-2 (raw, test)", "generated, seed 0"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Perplexities on one text."""

    text: str
    reference_perplexity: float
    increase: float

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return Estimate(
            value=self.increase, low=0.9 * self.increase, high=1.1 * self.increase, level=level,
            n=16320, unit="perplexity", method="t",
        )  # fmt: skip

    def details(self, check: str) -> dict[str, Any]:
        return {
            "text": self.text,
            "reference_perplexity": self.reference_perplexity,
            "windows": 64,
        }


def limit(source: SourceLine, most: float = 0.05) -> Limit:
    return Limit(
        check="perplexity.increase", rule="certify", max=most, source=source,
        band="8 bits" if source.is_shipped else "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("perplexity", "increase", "verdict"),
    [
        (6.233, 0.0027, Verdict.PASS),  # Llama-3-8B Q8_0
        (15.1819, 0.0571, Verdict.PASS),  # Qwen2.5-0.5B-Instruct Q8_0
        (17.9, 0.039, Verdict.PASS),  # Gemma 3 270M Q8_0
        (18.84, 0.097, Verdict.PASS),  # SmolLM2-135M Q8_0
        (6.233, 0.0571, Verdict.FAIL),
        (18.84, 0.207, Verdict.FAIL),  # SmolLM2-135M Q6_K, which is not of 8 bits
    ],
)
def test_on_wikitext_the_shipped_limit_grows_with_the_references_perplexity(
    perplexity: float, increase: float, verdict: Verdict
) -> None:
    scored = Scored(text=WIKITEXT, reference_perplexity=perplexity, increase=increase)
    record = judge_row("perplexity.increase", limit(SHIPPED), scored)
    assert record.verdict is verdict
    assert record.limit is not None
    assert record.limit.max == pytest.approx(0.05 * perplexity / 6.233)
    assert record.message.endswith(
        f"; limit 0.05 at a perplexity of 6.233, scaled to the reference's {perplexity:.4g}"
    )


def test_on_another_text_the_row_is_shown_and_not_judged(tmp_path: Path) -> None:
    scored = Scored(text=OWN, reference_perplexity=53.7, increase=0.216)
    record = judge_row("perplexity.increase", limit(SHIPPED), scored)
    assert (record.verdict, record.limit) == (Verdict.SKIPPED, None)
    assert record.estimate is not None
    assert record.estimate.value == 0.216
    assert record.message == (
        "perplexity.increase: shown, not judged: its shipped limits are of WikiText-2, the text is"
        " generated, seed 0. To judge it here write limits: {perplexity.increase: {max: 0.5}}"
    )
    artifact = Artifact(
        id="m", path=tmp_path, format="gguf", scheme="Q8_0", size_bytes=1, files=(),
        is_quantized=True,
    )  # fmt: skip
    ledger = Ledger([artifact])
    ledger.expect("m", "perplexity.increase")
    ledger.enter("m", record)
    assert ledger.skipped() == [], "--qgate-strict accepts it"


@pytest.mark.parametrize("text", [WIKITEXT, OWN])
@pytest.mark.parametrize(("increase", "verdict"), [(0.216, Verdict.FAIL), (0.01, Verdict.PASS)])
def test_a_limit_of_the_users_own_is_judged_as_it_is_written(
    text: str, increase: float, verdict: Verdict
) -> None:
    scored = Scored(text=text, reference_perplexity=53.7, increase=increase)
    record = judge_row("perplexity.increase", limit(TEAMS, 0.1), scored)
    assert (record.verdict, record.limit) == (verdict, limit(TEAMS, 0.1))
    assert "scaled" not in record.message


def test_other_rows_are_judged_on_any_text() -> None:
    scored = Scored(text=OWN, reference_perplexity=53.7, increase=0.0045)
    of_kl = dataclasses.replace(limit(SHIPPED, 0.01), check="divergence.kl_mean")
    assert judge_row("divergence.kl_mean", of_kl, scored).verdict is Verdict.PASS


def test_an_undecided_row_says_how_many_windows_would_decide() -> None:
    scored = Scored(text=OWN, reference_perplexity=53.7, increase=0.0098)
    of_kl = dataclasses.replace(limit(SHIPPED, 0.01), check="divergence.kl_mean")
    record = judge_row("divergence.kl_mean", of_kl, scored)
    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.message.endswith(
        "thresholds/default.yaml:92, 8 bits); text: {windows: 1600} would decide"
    )
