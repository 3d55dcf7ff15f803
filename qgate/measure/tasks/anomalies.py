"""What is odd about answers though no limit is on it: a gain, other lengths, nothing said.

Quantization takes away; an artifact that answers better than its reference, or at quite another
length, has something to explain: another template, another end of text, other items. Shown, never
judged: `edge.answer_length` and `edge.termination` have limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate import stats
from qgate.untrusted.text import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.measure.tasks.graded import Graded

IMPLAUSIBLE = 0.01
"""A gain whose exact one-sided McNemar p-value is at most this is no chance."""
LENGTHS = (0.9, 1.1)
"""MLPerf's inference rules: within 10 % of the reference's tokens."""


def implausible_gain(lost: int, gained: int) -> list[str]:
    """A finding where more was gained than chance explains."""
    if stats.mcnemar_exact(gained, lost) > IMPLAUSIBLE:
        return []
    return [f"implausible gain: {gained} answers are better than the reference's, {lost} are worse"]


def odd_answers(names: Sequence[str], artifact: Graded, reference: Graded) -> dict[str, Any]:
    """What is odd about generated answers, for the report; {} where answers are chosen.

    Args:
        names: of the items.
        artifact: its answers.
        reference: the reference's.

    Returns:
        `length_ratio`, its tokens over the reference's; `empty`, how many answers say nothing;
        `stopped`, programs that the sandbox stopped, where some were run, which count as wrong;
        `code`, how many of them had their tests in their own process, of each side, where a forged
        one could pass; `findings` that name the items.
    """
    if not len(artifact.answer_tokens):
        return {}
    ratio = float(artifact.answer_tokens.sum() / max(1, reference.answer_tokens.sum()))
    own, theirs = (_without_words(names, side) for side in (artifact, reference))
    stopped, stopped_before = (_stopped(names, side) for side in (artifact, reference))
    return {
        "length_ratio": ratio,
        "empty": len(own),
        **({"stopped": len(stopped)} if artifact.stopped_by else {}),
        **_in_one_process(artifact, reference),
        "findings": [
            *_odd_length(ratio),
            *_more_than("empty answers", own, theirs),
            *_more_than("stopped programs", stopped, stopped_before),
        ],
    }


def _in_one_process(artifact: Graded, reference: Graded) -> dict[str, Any]:
    if artifact.in_one_process is None:
        return {}
    both = {"artifact": artifact.in_one_process, "reference": reference.in_one_process}
    return {"code": {"run_in_one_process": both}}


def _odd_length(ratio: float) -> list[str]:
    low, high = LENGTHS
    if low <= ratio <= high:
        return []
    word = "longer" if ratio > 1 else "shorter"
    return [f"answers are {word} than the reference's: {ratio:.2f} times its tokens"]


def _without_words(names: Sequence[str], side: Graded) -> dict[str, str]:
    """By the name of each item with an empty answer: how it is shown."""
    return {name: name for name, is_empty in zip(names, side.is_empty, strict=True) if is_empty}


def _stopped(names: Sequence[str], side: Graded) -> dict[str, str]:
    """By the name of each item whose program was stopped: how it is shown."""
    stopped = zip(names, side.stopped_by, strict=False)  # of no items where none is run
    return {name: f"{name} ({why})" for name, why in stopped if why}


def _more_than(what: str, own: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """A finding where there are more than of the reference's, that names those that are new."""
    if len(own) <= len(theirs):
        return []
    new = [shown for name, shown in own.items() if name not in theirs]
    return [f"{what}: {len(own)}, the reference's {len(theirs)}: {listed(new)}"]
