"""(estimate, limit) → verdict, a truth table; and the one line that says why.

    rule      PASS           FAIL           INCONCLUSIVE
    certify   high <= max    low > max      otherwise
    alarm     otherwise      low > max      never

Mirrored for `min`. With both bounds a PASS needs both, and one broken bound is a FAIL. An alarm
that stays silent proves nothing by itself, so its line says what damage it would have seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from qgate.errors import MeasurementError, ThresholdsError
from qgate.records import Estimate, Limit, Verdict

_POWER = 0.8
"""Of the smallest damage that an alarm line names: it is seen 4 times in 5."""
_AFFORDABLE_FACTOR = 1000
"""Deciding that needs more than so many times the samples is called out of reach."""
_MOST_MORE_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class _Side:
    """One bound of a limit; distances are positive on its good side."""

    bound: float
    is_upper: bool

    def slack(self, value: float) -> float:
        return self.bound - value if self.is_upper else value - self.bound

    def good_end(self, estimate: Estimate) -> float:
        return estimate.low if self.is_upper else estimate.high

    def bad_end(self, estimate: Estimate) -> float:
        return estimate.high if self.is_upper else estimate.low

    def is_held(self, estimate: Estimate) -> bool:
        return self.slack(self.bad_end(estimate)) >= 0

    def is_broken(self, estimate: Estimate) -> bool:
        return self.slack(self.good_end(estimate)) < 0


def judge(estimate: Estimate, limit: Limit) -> Verdict:
    """Hold an estimate against a limit.

    Raises:
        ThresholdsError: the limit has no bound, or one that is not finite.
        MeasurementError: the estimate's interval has another level than the limit asks for.
    """
    sides = _sides(limit)
    if not math.isclose(estimate.level, limit.level):
        raise MeasurementError(
            f"{limit.check}: got an interval at level {estimate.level:g}; expected {limit.level:g} "
            f"({limit.source})."
        )
    if any(side.is_broken(estimate) for side in sides):
        return Verdict.FAIL
    if limit.rule == "alarm" or all(side.is_held(estimate) for side in sides):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def explain(check: str, estimate: Estimate, limit: Limit, verdict: Verdict) -> str:
    """What was observed, the limit, n, where the limit is written, what to do next: on one line.

    `verdict` is what `judge` said; an INCONCLUSIVE line begins with that word.
    """
    side = _telling_side(estimate, limit)
    more = _decimals_that_tell(estimate, side)

    def text(value: float) -> str:
        return format_value(value, estimate.unit, more)

    observed = f"{check}: {text(estimate.value)} [{text(estimate.low)}, {text(estimate.high)}]"
    samples = sample_word(check)
    basis = f"({estimate.level * 100:g} % CI, n = {_grouped(estimate.n)} {samples}; {limit.source})"
    bound = text(side.bound)
    if verdict is Verdict.INCONCLUSIVE:
        remedy = _what_would_decide(estimate, side, samples)
        return f"inconclusive: {observed}, limit {bound} {basis}; {remedy}"
    if verdict is Verdict.FAIL:
        worst = "windows" if samples == "tokens" else "samples"
        sign = ">" if side.is_upper else "<"
        return f"{observed} {sign} {bound} {basis}; see the worst {worst} in the report"
    if limit.rule == "alarm":
        seen = text(smallest_detectable(estimate, side.bound, is_upper=side.is_upper))
        or_worse = "or more" if side.is_upper else "or less"
        return (
            f"{observed}, alarm limit {bound} {basis}; no damage seen; would have seen {seen} "
            f"{or_worse} (4 times in 5)"
        )
    return f"{observed} {'<=' if side.is_upper else '>='} {bound} {basis}"


def smallest_detectable(estimate: Estimate, bound: float, *, is_upper: bool) -> float:
    """The true value at which an alarm with this n and spread goes off 4 times in 5.

    bound plus (1 + z(power) / z(level)) half-widths: the interval's normal approximation.
    """
    z_level = NormalDist().inv_cdf((1 + estimate.level) / 2)
    factor = 1 + NormalDist().inv_cdf(_POWER) / z_level
    if is_upper:
        return bound + factor * (estimate.value - estimate.low)
    return bound - factor * (estimate.high - estimate.value)


def samples_to_decide(estimate: Estimate, bound: float, *, is_upper: bool) -> int | None:
    """How many more samples would move the interval off the bound if the value stays.

    Half-widths shrink with the root of n. None where the value sits on the bound, or so near that
    no affordable number decides.
    """
    side = _Side(bound, is_upper)
    distance = side.slack(estimate.value)
    end = side.bad_end(estimate) if distance >= 0 else side.good_end(estimate)
    half_width = abs(end - estimate.value)
    if distance == 0 or (half_width / distance) ** 2 > _AFFORDABLE_FACTOR:
        return None
    return max(1, math.ceil(estimate.n * ((half_width / distance) ** 2 - 1)))


def sample_word(check: str) -> str:
    """What a check's n counts."""
    return "tokens" if check.startswith(("perplexity.", "divergence.")) else "samples"


def format_value(value: float, unit: str, more_decimals: int = 0) -> str:
    """A number with the digits that its unit deserves; fractions become percent.

    `more_decimals` keeps numbers apart that would read alike.

    Examples:
        >>> format_value(1.0431, "ratio"), format_value(0.00243, "nats")
        ('1.043', '0.00243')
        >>> format_value(0.912, "fraction"), format_value(0.99994, "fraction")
        ('91.2 %', '99.99 %')
    """
    if unit == "fraction":
        percent = value * 100
        decimals = 1 + more_decimals
        while value < 1 and decimals < 1 + _MOST_MORE_DECIMALS and round(percent, decimals) >= 100:
            decimals += 1
        return f"{percent:.{decimals}f} %"
    if unit == "ratio":
        return f"{value:.{3 + more_decimals}f}"
    if unit == "perplexity":
        fewest = 3 if abs(value) < 1000 else 0
        return f"{value:.{_decimals(value, significant=2, fewest=fewest) + more_decimals}f}"
    if unit == "nats":
        return f"{value:.{_decimals(value, significant=3, fewest=2) + more_decimals}f}"
    return f"{value:.{4 + more_decimals}g} {unit}"


def _decimals(value: float, significant: int, fewest: int) -> int:
    """Decimals that show so many significant digits; at most 6, where noise of runtimes begins."""
    if value == 0:
        return fewest
    return min(6, max(fewest, significant - 1 - math.floor(math.log10(abs(value)))))


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _sides(limit: Limit) -> list[_Side]:
    sides = [
        _Side(bound, is_upper)
        for bound, is_upper in ((limit.max, True), (limit.min, False))
        if bound is not None
    ]
    if not sides or not all(math.isfinite(side.bound) for side in sides):
        raise ThresholdsError(
            f"{limit.source}: {limit.check}: got min {limit.min}, max {limit.max}; "
            "expected a finite bound."
        )
    return sides


def _telling_side(estimate: Estimate, limit: Limit) -> _Side:
    """The bound that decides: the one that the interval's bad end is worst against."""
    sides = _sides(limit)
    return min(sides, key=lambda side: (not side.is_broken(estimate), _bad_slack(side, estimate)))


def _bad_slack(side: _Side, estimate: Estimate) -> float:
    return side.slack(side.bad_end(estimate))


def _decimals_that_tell(estimate: Estimate, side: _Side) -> int:
    """How many extra decimals keep an end of the interval and the bound from reading alike."""
    others = [
        value for value in (estimate.low, estimate.value, estimate.high) if value != side.bound
    ]
    for more in range(_MOST_MORE_DECIMALS):
        bound = format_value(side.bound, estimate.unit, more)
        if all(format_value(value, estimate.unit, more) != bound for value in others):
            return more
    return _MOST_MORE_DECIMALS


def _what_would_decide(estimate: Estimate, side: _Side, samples: str) -> str:
    needed = samples_to_decide(estimate, side.bound, is_upper=side.is_upper)
    if needed is None:
        return f"the value sits on the limit: no affordable number of {samples} decides"
    return f"about {_grouped(_two_digits(needed))} more {samples} would decide"


def _two_digits(count: int) -> int:
    """Rounded up to two significant digits: the estimate deserves no more."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return math.ceil(count / step) * step
