"""The samples that a report shows: what was asked, what was expected, what each side said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_SHOWN = 5
_LONGEST_SHOWN = 400


def side_by_side(
    numbers: Sequence[int],
    prompts: Sequence[str],
    reference: Sequence[str],
    artifact: Sequence[str],
    expected: Sequence[str] = (),
) -> list[dict[str, str]]:
    """The first five of `numbers`, texts cut.

    Prompts are cut at their beginning, for what is asked stands at their end.
    """
    shown = []
    for number in numbers[:_MOST_SHOWN]:
        sample = {
            "prompt": prompts[number][-_LONGEST_SHOWN:],
            "reference": reference[number][:_LONGEST_SHOWN],
            "artifact": artifact[number][:_LONGEST_SHOWN],
        }
        if expected:
            sample["expected"] = expected[number][:_LONGEST_SHOWN]
        shown.append(sample)
    return shown
