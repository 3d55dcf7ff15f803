"""A number in a thresholds file means what it looks like, or is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from tests.thresholds.team_files import load

if TYPE_CHECKING:
    from pathlib import Path

HOW = "Write a plain decimal number such as 0.5, 3 or 1.5e-3."
RATIO = "expected a number >= 1.0 (artifact / reference)."
INCREASE = "expected a number >= 0.0 (artifact - reference)."
SHARE = "expected a number > 0.0 and <= 1.0 (0.9 is 90 %)."
LEVEL = "expected a number > 0.5 and < 1.0."

BAD_NUMBERS = [
    ("perplexity.ratio.max", "0.97", f"got 0.97; {RATIO}"),
    ("perplexity.ratio.max", "5%", f"got '5%'; {RATIO} Write 1.05 for 5 % more."),
    ("perplexity.ratio.max", ".inf", f"got '.inf'; {RATIO} A limit is a finite number."),
    ("perplexity.ratio.max", "1e999", f"got 1e999; {RATIO}"),
    ("perplexity.ratio.max", "'1.1'", f"got '1.1'; {RATIO} Write 1.1, without quotes."),
    ("perplexity.ratio.max", "x", f"got 'x'; {RATIO} {HOW}"),
    ("perplexity.ratio.max", "null", f"got nothing; {RATIO}"),
    ("perplexity.ratio.max", "{a: 1}", f"got a mapping; {RATIO}"),
    ("perplexity.increase.max", "-0.1", f"got -0.1; {INCREASE}"),
    (
        "perplexity.increase.max",
        "5 %",
        f"got '5 %'; {INCREASE} Percent has no meaning here; write the number in the unit of the "
        "check.",
    ),
    ("perplexity.increase.max", ".nan", f"got '.nan'; {INCREASE} A limit is a finite number."),
    (
        "perplexity.increase.max",
        "0.5ppl",
        f"got '0.5ppl'; {INCREASE} Write the number alone: 0.5.",
    ),
    (
        "perplexity.increase.max",
        "1:30",
        f"got '1:30'; {INCREASE} A colon between digits means base 60 to YAML.",
    ),
    (
        "perplexity.increase.max",
        "010",
        f"got '010'; {INCREASE} A leading zero means base 8 to YAML.",
    ),
    ("perplexity.increase.max", "0x1F", f"got '0x1F'; {INCREASE} Write it in decimal."),
    ("perplexity.increase.max", "1_000", f"got '1_000'; {INCREASE} Write 1000."),
    ("perplexity.increase.max", "+0.5", f"got '+0.5'; {INCREASE} Write 0.5."),
    ("perplexity.increase.max", ".5", f"got '.5'; {INCREASE} Write 0.5."),
    ("perplexity.increase.max", "5.", f"got '5.'; {INCREASE} Write 5."),
    (
        "perplexity.increase.max",
        "'0,5'",
        f"got '0,5'; {INCREASE} Write decimals with a point and thousands without a comma.",
    ),
    ("perplexity.increase.max", "no", f"got 'no'; {INCREASE} {HOW}"),
    ("perplexity.increase.max", "\u0663", f"got '\u0663'; {INCREASE} {HOW}"),
    ("perplexity.increase.max", '"a\\nb"', f"got 'a\\nb'; {INCREASE} {HOW}"),
    ("divergence.kl_mean.max", "-1", "got -1; expected a number >= 0.0 (nats)."),
    ("divergence.same_top.min", "90", f"got 90; {SHARE}"),
    ("divergence.same_top.min", "90%", f"got '90%'; {SHARE} Write 0.9 for 90 %."),
    ("divergence.same_top.min", "0", f"got 0; {SHARE}"),
    ("perplexity.ratio.level", "0.5", f"got 0.5; {LEVEL}"),
    ("perplexity.ratio.level", "1", f"got 1; {LEVEL}"),
    ("perplexity.ratio.level", "95", f"got 95; {LEVEL}"),
]


@pytest.mark.parametrize(("key", "written", "message"), BAD_NUMBERS)
def test_number_that_yaml_or_the_reader_could_misread_is_refused(
    tmp_path: Path, key: str, written: str, message: str
) -> None:
    check, _, name = key.rpartition(".")
    more = "    max: 1.1\n" if name == "level" else ""
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, f"version: 1\nlimits:\n  {check}:\n    {name}: {written}\n{more}")
    assert str(refusal.value) == f"team.yaml:4: {key}: {message}"


@pytest.mark.parametrize(
    ("written", "value"),
    [("0.5", 0.5), ("3", 3.0), ("1.5e-3", 0.0015), ("1e-3", 0.001), ("1E+2", 100.0), ("0", 0.0)],
)
def test_plain_decimal_number_is_read_as_it_looks(
    tmp_path: Path, written: str, value: float
) -> None:
    text = f"version: 1\nlimits:\n  perplexity.increase: {{max: {written}}}\n"
    assert load(tmp_path, text).limits_for("a", "Q4_K_M")["perplexity.increase"].max == value
