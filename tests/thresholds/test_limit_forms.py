"""How a limit is written depends on its unit: what each form means, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from tests.thresholds.team_files import load

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.records import Limit

DROP = "expected max_drop, without a sign. Write max_drop: 0.02 where it may drop by 2 percentage "
RISE = "expected max_rise, without a sign. Write max_rise: 0.02 where it may rise by 2 percentage "
SHARE = "expected a number >= 0.0 and < 1.0 (0.02 is 2 percentage points)."
HOW = "Write a plain decimal number such as 0.5, 3 or 1.5e-3."
BUDGET = "expected vram_gib or ram_gib. Write vram_gib: 24 or ram_gib: 24, in GiB."
GIB = "expected a number > 0.0 (2**30 bytes)."
WRITE_GIB = "The key names the unit: write the number of GiB alone, as vram_gib or ram_gib."
WHOLE = "expected a whole number >= 1 and <= 2147483647."
PERCENTILE = "expected a number >= 50 and <= 99.9."


def one(directory: Path, check: str, written: str, more: str = "") -> Limit:
    thresholds = load(directory, f"version: 1\nlimits:\n  {check}: {written}\n{more}")
    return thresholds.limits_for("a", "Q4_K_M")[check]


# What is written, and what it means: bound, rule, level, parameters


@pytest.mark.parametrize(
    ("check", "written", "low", "high"),
    [
        ("edge.math", "{max_drop: 0.02}", -0.02, None),
        ("edge.math", "{max_drop: 0}", 0.0, None),
        ("edge.termination", "{max_drop: 0.5}", -0.5, None),
        ("accuracy.code", "{max_drop: 0.1}", -0.1, None),
        ("edge.repetition", "{max_rise: 0.05}", None, 0.05),
        ("edge.batch_invariance", "{max_rise: 0}", None, 0.0),
        ("edge.long_input", "{max: 1}", None, 1.0),
        ("latency.ttft", "{max: 0.7}", None, 0.7),
        ("latency.tps", "{min: 1.5}", 1.5, None),
        ("memory.weights", "{max: 0.35}", None, 0.35),
        ("memory.growth", "{max_bytes: 0}", None, 0.0),
        ("memory.growth", "{max_bytes: 4096, unit: bytes}", None, 4096.0),
    ],
)
def test_bound_has_the_sign_that_its_check_is_measured_in(
    tmp_path: Path, check: str, written: str, low: float | None, high: float | None
) -> None:
    limit = one(tmp_path, check, written)
    assert (limit.min, limit.max) == (low, high)
    assert (limit.rule, limit.level, limit.parameters) == ("certify", 0.95, {})
    assert str(limit.source) == "team.yaml:3"


def test_no_drop_at_all_is_not_shown_with_a_minus(tmp_path: Path) -> None:
    assert str(one(tmp_path, "edge.math", "{max_drop: 0}").min) == "0.0"


def test_percentile_is_held_at_99_percent_one_sided_unless_it_says_otherwise(
    tmp_path: Path,
) -> None:
    enough = "latency: {pairs: 90}\n"
    limit = one(tmp_path, "latency.ttft_slo", "{max_ms: 200, percentile: 95}", enough)
    assert (limit.max, limit.level, limit.rule) == (200.0, 0.98, "certify")
    assert limit.parameters == {"percentile": 95.0}
    other = one(tmp_path, "latency.itl_slo", "{max_ms: 9.5, percentile: 50, level: 0.9}")
    assert (other.max, other.level, other.parameters) == (9.5, 0.9, {"percentile": 50.0})


@pytest.mark.parametrize(
    ("written", "budget", "parameters"),
    [
        (
            "{vram_gib: 24, context: 8192}",
            24.0,
            {"is_vram": 1.0, "context": 8192, "sequences": 1},
        ),
        (
            "{ram_gib: 0.5, context: 1, sequences: 8}",
            0.5,
            {"is_vram": 0.0, "context": 1, "sequences": 8},
        ),
    ],
)
def test_budget_says_where_it_is_and_what_it_is_for(
    tmp_path: Path, written: str, budget: float, parameters: dict[str, float]
) -> None:
    limit = one(tmp_path, "memory.fits", written)
    assert (limit.max, limit.min, limit.rule) == (budget, None, "certify")
    assert limit.parameters == parameters


# What is refused

BAD_LIMITS = [
    # the sign
    ("edge.math", "{min: -0.02}", f"got min; {DROP}points."),
    ("edge.math", "{max: 0.02}", f"got max; {DROP}points."),
    ("edge.repetition", "{max: 0.05}", f"got max; {RISE}points."),
    ("edge.repetition", "{max_drop: 0.05}", f"got max_drop; {RISE}points."),
    ("edge.math", "{max_drop: -0.02}", f".max_drop: got -0.02; {SHARE}"),
    ("edge.math", "{max_drop: 2}", f".max_drop: got 2; {SHARE}"),
    ("edge.math", "{max_drop: 2%}", f".max_drop: got '2%'; {SHARE} Write 0.02 for 2 %."),
    ("edge.repetition", "{max_rise: 5pp}",
     f".max_rise: got '5pp'; {SHARE} Write 0.05 for 5 percentage points."),
    ("edge.math", "{}", f"no max_drop; {SHARE}"),
    ("edge.math", "0.02",
     "got '0.02'; expected a mapping such as {max_drop: ...}, or off to drop an inherited limit."),
    ("edge.math", "{max_drop: 0.02, unit: fraction}",
     ".unit: got 'fraction'; expected difference."),
    # ratios
    ("latency.ttft", "{max: 0}", ".max: got 0; expected a number > 0.0 (artifact / reference)."),
    ("latency.ttft", "{max_ms: 200}", "got max_ms; expected max: more is worse."),
    ("latency.tps", "{min: 95%}",
     ".min: got '95%'; expected a number > 0.0 (artifact / reference). "
     "Write 0.95 for 95 % of the reference."),
    ("latency.tps", "{max: 0.95}", "got max; expected min: less is worse."),
    ("memory.kv_cache", "{max: 0.99}",
     ".max: got 0.99; expected a number >= 1.0 (artifact / reference)."),
    # bytes
    ("memory.growth", "{max_bytes: -1}", ".max_bytes: got -1; expected a number >= 0.0."),
    ("memory.growth", "{max_bytes: 4kB}",
     ".max_bytes: got '4kB'; expected a number >= 0.0. Write the number of bytes alone."),
    # ms
    ("latency.ttft_slo", "{max_ms: 0, percentile: 95}", ".max_ms: got 0; expected a number > 0.0."),
    ("latency.ttft_slo", "{max_ms: 0.2s, percentile: 95}",
     ".max_ms: got '0.2s'; expected a number > 0.0. Write the number of ms alone."),
    ("latency.ttft_slo", "{max_ms: 200 ms, percentile: 95}",
     ".max_ms: got '200 ms'; expected a number > 0.0. Write the number alone: 200."),
    ("latency.ttft_slo", "{max_ms: 200}", f"no percentile; {PERCENTILE}"),
    ("latency.itl_slo", "{max_ms: 20, percentile: 0.95}", f".percentile: got 0.95; {PERCENTILE}"),
    ("latency.itl_slo", "{max_ms: 20, percentile: p95}",
     f".percentile: got 'p95'; {PERCENTILE} {HOW}"),
    ("latency.itl_slo", "20",
     "got '20'; expected a mapping such as {max_ms: ..., percentile: ...}, or off to drop an "
     "inherited limit."),
    # a budget without a unit
    ("memory.fits", "{vram: 24, context: 8192}", f"got vram; {BUDGET}"),
    ("memory.fits", "{budget: 24, context: 8192}", f"got budget; {BUDGET}"),
    ("memory.fits", "{context: 8192, vram_gb: 24}", f"got vram_gb; {BUDGET}"),
    ("memory.fits", "{vram_gib: 24GB, context: 8192}", f".vram_gib: got '24GB'; {GIB} {WRITE_GIB}"),
    ("memory.fits", "{vram_gib: 0, context: 8192}", f".vram_gib: got 0; {GIB}"),
    ("memory.fits", "{context: 8192}", "no bound; expected vram_gib or ram_gib."),
    ("memory.fits", "{vram_gib: 24, ram_gib: 64, context: 8192}",
     "got vram_gib and ram_gib; expected one of them."),
    ("memory.fits", "{vram_gib: 24}", f"no context; {WHOLE}"),
    ("memory.fits", "{vram_gib: 24, context: 8k}",
     f".context: got '8k'; {WHOLE} Write the number alone: 8."),
    ("memory.fits", "{vram_gib: 24, context: 8192, sequences: 1.5}",
     f".sequences: got 1.5; {WHOLE}"),
    ("memory.fits", "{vram_gib: 24, context: 8192, rule: alarm}",
     "unknown key 'rule' in memory.fits. Valid: vram_gib, ram_gib, context, sequences."),
]  # fmt: skip


@pytest.mark.parametrize(("check", "written", "message"), BAD_LIMITS, ids=range(len(BAD_LIMITS)))
def test_limit_whose_sign_or_unit_could_be_mistaken_is_refused(
    tmp_path: Path, check: str, written: str, message: str
) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        one(tmp_path, check, written)
    if message.startswith("."):
        message = f"{check}{message}"
    elif not message.startswith("unknown"):
        message = f"{check}: {message}"
    assert str(refusal.value) == f"team.yaml:3: {message}"


# Percentiles that the run could never hold


@pytest.mark.parametrize(
    ("percentile", "more", "needed", "pairs"),
    [
        ("99", "", "459 requests at level 0.98", 24),
        ("95", "latency: {pairs: 89}\n", "90 requests at level 0.98", 89),
        ("99.9", "latency: {pairs: 4602}\n", "4603 requests at level 0.98", 4602),
        ("50", "latency: {pairs: 6}\n", "7 requests at level 0.98", 6),
        ("99, level: 0.9", "", "299 requests at level 0.9", 24),
    ],
)
def test_percentile_beyond_the_number_of_requests_is_refused_at_once(
    tmp_path: Path, percentile: str, more: str, needed: str, pairs: int
) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        one(tmp_path, "latency.ttft_slo", f"{{max_ms: 200, percentile: {percentile}}}", more)
    shown, number = percentile.partition(",")[0], needed.split()[0]
    assert str(refusal.value) == (
        f"team.yaml:3: latency.ttft_slo: percentile {shown} needs {needed}; got latency.pairs: "
        f"{pairs}. Set latency.pairs: {number} or more, or hold a lower percentile."
    )


@pytest.mark.parametrize(("percentile", "pairs"), [("99", 459), ("95", 90), ("50", 7)])
def test_just_enough_requests_for_a_percentile_are_enough(
    tmp_path: Path, percentile: str, pairs: int
) -> None:
    written = f"{{max_ms: 200, percentile: {percentile}}}"
    one(tmp_path, "latency.itl_slo", written, f"latency: {{pairs: {pairs}}}\n")


def test_percentile_of_one_scheme_is_looked_at_too(tmp_path: Path) -> None:
    text = (
        "version: 1\nschemes:\n  Q8_0:\n    latency.itl_slo:\n"
        "      max_ms: 20\n      percentile: 90\n"
    )
    with pytest.raises(ThresholdsError, match=r"^team\.yaml:4: latency\.itl_slo: percentile 90 "):
        load(tmp_path, text)


def test_percentile_that_no_artifact_is_held_to_is_left_alone(tmp_path: Path) -> None:
    text = (
        "version: 1\nlimits: {latency.itl_slo: {max_ms: 20, percentile: 99}}\n"
        "artifacts: {'*': {latency.itl_slo: off}}\n"
    )
    assert "latency.itl_slo" not in load(tmp_path, text).limits_for("a", "Q8_0")
