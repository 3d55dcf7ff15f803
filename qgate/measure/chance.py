"""Whether the original knows what it is asked: one that guesses has nothing that could be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.errors import NotApplicable

if TYPE_CHECKING:
    import numpy as np

LEAST_ABOVE_CHANCE = 0.1
"""So much more often than by chance the original has to be right."""


def require_scored(check: str, asked: str, scores: np.ndarray, least: float | None = None) -> None:
    """Refuse a task whose answers by the original are worth nothing, so that none could be lost.

    Args:
        check: the row.
        asked: the file or task, for the message.
        scores: of the original's answers, more is better.
        least: what the user says their mean must be; None: any that is not 0.

    Raises:
        NotApplicable: they are.
    """
    mean = float(scores.mean())
    if scores.any() if least is None else mean >= least:
        return
    wanted = "more than 0" if least is None else f"at least {least:g}"
    raise NotApplicable(
        f"{check}: the original itself does not know {asked}: got a mean score of {mean:.3g};"
        f" expected {wanted}. Name tasks that the model is used for, and switch this one off"
    )


def require_known(
    check: str,
    asked: str,
    share: float,
    chance: float,
    least: float | None = None,
) -> None:
    """Refuse a task that the original does not know.

    Args:
        check: the row.
        asked: the file or task, for the message.
        share: of right answers of the original.
        chance: the share that guessing reaches.
        least: what the user says is enough; None: `LEAST_ABOVE_CHANCE` above chance.

    Raises:
        NotApplicable: the original is hardly better than chance.
    """
    enough = chance + LEAST_ABOVE_CHANCE if least is None else least
    if share >= enough:
        return
    raise NotApplicable(
        f"{check}: the original itself does not know {asked}: got {share:.0%} right; expected at"
        f" least {enough:.0%}. Name tasks that the model is used for, and switch this one off"
    )
