"""When a row says nothing about a model, and what becomes of it then.

    the reference is read    it has to know what it is asked: more than by chance, a score above 0
    a row would pass         an artifact that lost everything would have to fail
    otherwise                the row is skipped where its limit is shipped for every model, and an
                             error where the user set its limit

A user who sets `min_reference` decides how little the reference has to know.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from qgate.errors import NotApplicable, reworded
from qgate.records import Verdict
from qgate.verdict.judge import judge
from qgate.verdict.message import explain_vacuous
from qgate.verdict.multiplicity import adjust

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import numpy as np

    from qgate.errors import QGateError
    from qgate.records import Estimate, Limit

LEAST_ABOVE_CHANCE = 0.1
"""So much more often than by chance the reference has to be right."""
_DOUBT = 0.02
"""A part of the items refuses a task only where so good a part or a worse one is so unlikely."""


def require_nonzero_score(
    check: str, asked: str, scores: np.ndarray, least: float | None = None
) -> None:
    """Refuse a task whose answers by the reference are worth nothing, so that none could be lost.

    Args:
        check: the row.
        asked: the file or task, for the message.
        scores: of the reference's answers, more is better.
        least: what the user says their mean must be; None: any that is not 0.

    Raises:
        NotApplicable: they are.
    """
    mean = float(scores.mean())
    if scores.any() if least is None else mean >= least:
        return
    wanted = "more than 0" if least is None else f"at least {least:g}"
    raise _not_known(check, asked, f"a mean score of {mean:.3g}", wanted)


def require_above_chance(
    check: str,
    asked: str,
    share: float,
    chance: float,
    least: float | None = None,
) -> None:
    """Refuse a task that the reference does not know.

    Args:
        check: the row.
        asked: the file or task, for the message.
        share: of right answers of the reference.
        chance: the share that guessing reaches.
        least: what the user says is enough; None: `LEAST_ABOVE_CHANCE` above chance.

    Raises:
        NotApplicable: the reference is hardly better than chance.
    """
    enough = chance + LEAST_ABOVE_CHANCE if least is None else least
    if share >= enough:
        return
    raise _not_known(check, asked, f"{share:.0%} right", f"at least {enough:.0%}")


def require_possible(
    check: str, asked: str, right: np.ndarray, chance: float, least: float | None = None
) -> None:
    """Refuse a task of which a random part shows that the reference does not know the whole.

    That is so where a model that is right as often as `require_above_chance` asks for would have so
    few of the part right with a probability of at most 2 % (exact binomial).

    Args:
        check: the row.
        asked: the file or task, for the message.
        right: the reference's answers to the part, bool.
        chance: the share that guessing reaches.
        least: what the user says is enough; None: `LEAST_ABOVE_CHANCE` above chance.

    Raises:
        NotApplicable: it shows that.
    """
    enough = chance + LEAST_ABOVE_CHANCE if least is None else least
    found, n = int(right.sum()), len(right)
    if found >= enough * n or _chance_of_at_most(found, n, enough) > _DOUBT:
        return
    raise _not_known(check, asked, f"{found / n:.0%} of {n} right", f"at least {enough:.0%}")


def _not_known(check: str, asked: str, got: str, expected: str) -> NotApplicable:
    return NotApplicable(
        f"{check}: the reference itself does not know {asked}: got {got}; expected {expected}."
        " Name tasks that the model is used for, and switch this one off"
    )


def require_non_vacuous(
    worst: Estimate, limit: Limit, family: int, details: Mapping[str, Any]
) -> None:
    """Reject a vacuous pass: one that even an artifact that lost every answer would have.

    Args:
        worst: of an artifact that lost everything.
        limit: of the row.
        family: how many alarms on the artifact share one error.
        details: of the row, for the report.

    Raises:
        NotApplicable: it is one.
    """
    if limit.rule == "certify" or worst.p_value is None:
        worst = dataclasses.replace(worst, low=worst.value, high=worst.value)
    worst = adjust(worst, limit, family)
    if judge(worst, limit) is not Verdict.FAIL:
        error = NotApplicable(explain_vacuous(limit.check, worst, limit))
        error.details, error.names_limit = details, True
        raise error


def is_skipped(error: QGateError, limit: Limit | None) -> bool:
    """Whether the row is left out, and no error: it says nothing, and the user did not ask for it.

    Args:
        error: what ended the row.
        limit: of the row.
    """
    return isinstance(error, NotApplicable) and (limit is None or limit.source.is_shipped)


def with_limit(error: QGateError, limit: Limit | None) -> QGateError:
    """The error of a row that says nothing, which names the limit by which it was asked for."""
    if not isinstance(error, NotApplicable) or limit is None or error.names_limit:
        return error
    return reworded(error, f"{error} ({limit.source} sets its limit)")


def _chance_of_at_most(found: int, n: int, share: float) -> float:
    """P(X <= found) for X ~ Binomial(n, share); `scipy.stats.binom.cdf`."""
    if share >= 1.0:
        return 0.0
    log_each = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
        for k in range(found + 1)
    )
    return sum(map(math.exp, log_each))
