"""What is odd about answers though no limit is on it: a gain, other lengths, nothing said.

Quantization takes away; an artifact that answers better than its original, or at quite another
length, has something to explain: another template, another end of text, other items. Shown, never
judged: `edge.answer_length` and `edge.termination` have limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate import stats

if TYPE_CHECKING:
    from qgate.measure.graded import Graded

IMPLAUSIBLE = 0.01
"""A gain whose exact one-sided McNemar p-value is at most this is no chance."""
LENGTHS = (0.9, 1.1)
"""MLPerf's inference rules: within 10 % of the reference's tokens."""


def odd_gain(lost: int, gained: int) -> list[str]:
    """A finding where more was gained than chance explains."""
    if stats.mcnemar_exact(gained, lost) > IMPLAUSIBLE:
        return []
    return [f"implausible gain: {gained} answers are better than the original's, {lost} are worse"]


def odd_lengths(artifact: Graded, reference: Graded) -> dict[str, Any]:
    """Tokens of generated answers over the original's, empty ones, and findings; {} without any."""
    own, theirs = artifact.answer_tokens, reference.answer_tokens
    if not len(own):
        return {}
    ratio = float(own.sum() / max(1, theirs.sum()))
    low, high = LENGTHS
    findings = []
    if not low <= ratio <= high:
        word = "longer" if ratio > 1 else "shorter"
        findings.append(f"answers are {word} than the original's: {ratio:.2f} times its tokens")
    empty, before = int((own == 0).sum()), int((theirs == 0).sum())
    if empty > before:
        findings.append(f"{empty} empty answers; the original gave {before}")
    return {"length_ratio": ratio, "empty": empty, "findings": findings}
