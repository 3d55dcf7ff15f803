"""The one line of a judged row: what, observed, limit, n, where the limit is written, what next.

An alarm that stays silent proves nothing by itself: `would_have_seen` tells the damage that it
would have seen. Of an exact row (one value, no interval) there is nothing to say but the value and
the limit.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

from qgate.checks import CHECKS, Check, find_check
from qgate.records import Estimate, Limit, Verdict
from qgate.verdict.judge import Side, deciding_p_value, deciding_side, excludes_no_damage, is_shown
from qgate.verdict.numbers import (
    distinguishing_decimals,
    format_bound,
    format_interval,
    format_value,
    name_conditions,
)

_POWER = 0.8
"""Of the smallest damage that an alarm line names: it is seen 4 times in 5."""
_AFFORDABLE_FACTOR = 1000
"""Deciding that needs more than so many times the samples is called out of reach."""
_UNIT_SAID_ONCE = ("difference", "ms", "bytes", "GiB")


def explain(
    check: str | Check,
    estimate: Estimate,
    limit: Limit,
    verdict: Verdict,
    member: str | None = None,
    member_count: int = 1,
    family: int = 1,
    asked: int = 0,
) -> str:
    """What was observed, the limit, n, where the limit is written, what to do next: on one line.

    Args:
        check: the row; by its name one of qgate's.
        estimate: what was judged; of a family the telling member's.
        limit: what it was held against.
        verdict: what `judge` said; an INCONCLUSIVE line begins with that word.
        member: the one that tells, of a row that judges several.
        member_count: how many the row judges; a PASS speaks for all of them.
        family: how many alarms the p-value was adjusted for.
        asked: how many windows of text, of a row whose n counts their tokens; 0: nobody said.
    """
    row = find_check(check) if isinstance(check, str) else check
    side = deciding_side(estimate, limit)
    ends = (estimate.low, estimate.value, estimate.high)
    more = distinguishing_decimals(ends, side.bound, estimate.unit)
    before, after = name_conditions(limit.parameters)
    name = _name(row.name, member, member_count if verdict is Verdict.PASS else 1)
    observed = f"{name}: {before}{_observed(estimate, more)}"
    is_exact = _is_exact(estimate)
    bound = (
        format_bound(side.bound, estimate.unit)
        if is_exact
        else format_value(side.bound, estimate.unit, more)
    ) + after
    basis = _basis(row, estimate, limit, family)
    if verdict is Verdict.INCONCLUSIVE:
        remedy = _what_would_decide(row, estimate, side, asked)
        return f"inconclusive: {observed}, limit {bound} {basis}; {remedy}"
    if verdict is Verdict.FAIL:
        look = "" if is_exact or not row.evidence else f"; see {row.evidence} in the report"
        return f"{observed} {'>' if side.is_upper else '<'} {bound} {basis}{look}"
    if limit.rule == "alarm" and not is_exact:
        return f"{observed}, alarm limit {bound} {basis}; {_silence(estimate, limit, side)}"
    return f"{observed} {'<=' if side.is_upper else '>='} {bound} {basis}"


def explain_vacuous(check: str, worst: Estimate, limit: Limit) -> str:
    """Why a pass is vacuous, and what to do about it.

    Args:
        check: the row.
        worst: of an artifact that lost everything.
        limit: which that holds.
    """
    side = deciding_side(worst, limit)
    more = distinguishing_decimals((worst.value,), side.bound, worst.unit)
    value, bound = (format_value(end, worst.unit, more) for end in (worst.value, side.bound))
    got = f"got {value} of an artifact that loses all it can"
    if side.slack(worst.value) >= 0:
        return (
            f"{check}: nothing could fail it: {got}; expected worse than {bound} ({limit.source})."
            f" {_room_for(check, 'Name tasks that it knows, or write min_reference: 0')}"
        )
    return (
        f"{check}: too little to lose: {got} {_basis(find_check(check), worst, limit, family=1)};"
        f" expected p <= {1 - limit.level:.2g}. {_room_for(check, 'Add items')}"
    )


def smallest_detectable(
    estimate: Estimate, bound: float, *, is_upper: bool, family: int = 1
) -> float:
    """The true value at which an alarm with this n and spread goes off 4 times in 5.

    bound plus z(level) + z(power) standard errors: the interval's normal approximation. With a
    p-value two things have to happen, and the less likely one counts: damage is told from none at
    all, 0 plus z(1 - error / family) + z(power) of them, and the value comes out beyond the bound,
    bound plus z(power) of them.
    """
    normal, sign = NormalDist(), 1 if is_upper else -1
    z_level, z_power = normal.inv_cdf((1 + estimate.level) / 2), normal.inv_cdf(_POWER)
    half_width = estimate.value - estimate.low if is_upper else estimate.high - estimate.value
    error = half_width / z_level
    if estimate.p_value is None:
        return bound + sign * (z_level + z_power) * error
    z_alarm = normal.inv_cdf(1 - (1 - estimate.level) / family)
    return sign * max((z_alarm + z_power) * error, sign * bound + z_power * error)


def samples_to_decide(estimate: Estimate, bound: float, *, is_upper: bool) -> int | None:
    """How many more samples would move the interval off the bound if the value stays.

    Half-widths shrink with the root of n; that of a slope shrinks faster, so that fewer suffice.
    None where the value sits on the bound, or so near that no affordable number decides.
    """
    side = Side(bound, is_upper)
    distance = side.slack(estimate.value)
    end = side.bad_end(estimate) if distance >= 0 else side.good_end(estimate)
    half_width = abs(end - estimate.value)
    if distance == 0 or (half_width / distance) ** 2 > _AFFORDABLE_FACTOR:
        return None
    return max(1, math.ceil(estimate.n * ((half_width / distance) ** 2 - 1)))


def _room_for(check: str, of_items: str) -> str:
    if check.startswith("accuracy."):
        return of_items
    room = find_check(check).room
    return f"{f'{room}, or write' if room else 'Write'} {check}: off"


def _name(check: str, member: str | None, member_count: int) -> str:
    if member is None:
        return check
    return f"{check} ({f'worst of {member_count}: ' if member_count > 1 else ''}{member})"


def _observed(estimate: Estimate, more: int) -> str:
    ends = (estimate.value, estimate.low, estimate.high)
    value, low, high = (format_value(end, estimate.unit, more) for end in ends)
    if estimate.lower_bound:
        value = f"at least {value}"
    if _is_exact(estimate):
        return value
    if estimate.unit in _UNIT_SAID_ONCE:
        return f"{value} {format_interval(value, low, high)}"
    return f"{value} [{low}, {high}]"


def _is_exact(estimate: Estimate) -> bool:
    return estimate.method == "exact" and estimate.low == estimate.high


def _basis(row: Check, estimate: Estimate, limit: Limit, family: int) -> str:
    if _is_exact(estimate):
        return f"(exact; {_source(limit)})"
    p_value = deciding_p_value(estimate, limit)
    look = f", look {estimate.look[0]} of {estimate.look[1]}" if estimate.look else ""
    how = f"{estimate.level * 100:g} % CI{look}"
    if p_value is not None:
        of_all = f" corrected by Bonferroni for {family} alarms" if family > 1 else ""
        test = f"{estimate.test} " if estimate.test else ""
        is_early = estimate.look is not None and estimate.look[0] < estimate.look[1]
        how = f"{test}p = {p_value:.1g}{of_all}{look if is_early else ''}"
    bound = "" if estimate.is_open or not estimate.lower_bound else f"; {estimate.lower_bound}"
    where = f"n = {_grouped(estimate.n)} {row.samples}; {_source(limit)}"
    return f"({how}, {where}){bound}"


def _source(limit: Limit) -> str:
    """Where it is written, and for artifacts of which bits."""
    return f"{limit.source}, {limit.band}" if limit.band else str(limit.source)


def _silence(estimate: Estimate, limit: Limit, side: Side) -> str:
    """What an alarm that did not go off saw; never "none" of an interval that excludes none."""
    p_value = deciding_p_value(estimate, limit)
    is_excluded = excludes_no_damage(estimate, is_upper=side.is_upper)
    if p_value is not None and is_shown(p_value, limit):
        return "damage is seen, but not beyond the limit"
    if p_value is not None:
        return "damage is not shown beyond doubt" if is_excluded else "no damage seen"
    if is_excluded is None:
        return "not shown to be beyond the limit"
    return "damage is seen, but not shown beyond the limit" if is_excluded else "no damage seen"


def would_have_seen(
    estimate: Estimate, limit: Limit, *, family: int = 1, detectable: float = 0.0
) -> str:
    """The smallest damage for which an alarm goes off 4 times in 5: `1.041 or more`.

    Args:
        estimate: what was judged.
        limit: of the row.
        family: how many alarms the p-value was adjusted for.
        detectable: the change that its test sees 4 times in 5, as a size; 0: nobody said.

    Returns:
        Nothing for a row that is no alarm, has seen everything as it is exact, or nothing at all.
    """
    if limit.rule != "alarm" or _is_exact(estimate):
        return ""
    side = deciding_side(estimate, limit)
    ends = (estimate.low, estimate.value, estimate.high)
    of = dataclasses.replace(estimate, p_value=deciding_p_value(estimate, limit))
    near = smallest_detectable(of, side.bound, is_upper=side.is_upper, family=family)
    # of few flips the interval's normal approximation promises too much
    far = detectable if side.is_upper else -detectable
    seen = max(near, far, key=abs) if detectable else near
    if estimate.unit == "ratio" and seen <= 0:
        return ""  # so wide an interval would have seen nothing
    more = distinguishing_decimals(ends, side.bound, estimate.unit)
    return f"{format_value(seen, estimate.unit, more)} or {'more' if side.is_upper else 'less'}"


def _what_would_decide(row: Check, estimate: Estimate, side: Side, asked: int) -> str:
    """A setting that can be typed, where there is one that asks for more samples."""
    if estimate.is_open:  # no number of samples would
        return estimate.lower_bound
    samples, is_of_text = row.samples, row.setting.startswith("text:")
    more = samples_to_decide(estimate, side.bound, is_upper=side.is_upper)
    if more is None:
        return (
            f"the value sits on the limit: no affordable number of {samples} decides. Decide it by"
            f" a limit of your own on {row.name}, under artifacts in your thresholds file"
        )
    if row.setting and (asked or not is_of_text):
        count = asked if is_of_text else estimate.n
        needed = _two_digits(math.ceil(count * (1 + more / estimate.n)))
        return f"{row.setting.format(n=needed)} would decide"
    if row.name in CHECKS and row.area == "edge":
        return f"no setting asks for more {samples}: write rule: alarm in its limit"
    return f"about {_grouped(_two_digits(more))} more {samples} would decide"


def _two_digits(count: int) -> int:
    """Rounded up to two significant digits: the estimate deserves no more."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return math.ceil(count / step) * step


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", " ")
