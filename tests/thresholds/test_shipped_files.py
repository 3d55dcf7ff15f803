"""The limits that the project ships are those it promises; its schema agrees with the reader."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.thresholds import (
    RuntimeSettings,
    TextSettings,
    load_thresholds,
    shipped_path,
)
from tests.thresholds.loading import CHECKS, LAYERED, REPOSITORY, SHIPPED, bounds, load

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = REPOSITORY / "thresholds" / "schema.json"


# The shipped file


def test_shipped_settings_are_the_defaults_of_the_code() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    assert shipped_path() == SHIPPED
    assert (thresholds.text, thresholds.runtime) == (TextSettings(), RuntimeSettings())


def test_naming_the_shipped_file_changes_nothing(tmp_path: Path) -> None:
    assert load_thresholds(SHIPPED, tmp_path) == load_thresholds(None, REPOSITORY)


def test_every_shipped_number_is_reachable() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    schemes = ["unlisted", *(layer.pattern for layer in thresholds.layers)]
    reached = {
        limit.source.line
        for scheme in schemes
        for limit in thresholds.limits_for("any", scheme).values()
    }
    lines = SHIPPED.read_text().splitlines()
    written = {
        number
        for number, line in enumerate(lines, 1)
        if ("max:" in line or "min:" in line) and not line.lstrip().startswith("#")
    }
    assert reached == written


PUBLISHED_INCREASES = {
    "Q2_K": 3.0, "Q3_K_M": 1.5, "Q4_K_M": 0.5, "Q5_K_M": 0.2, "Q6_K": 0.05, "Q8_0": 0.02,
    "gptq": 0.5, "awq": 0.4, "bitsandbytes": 0.4, "IQ2_XXS": 0.5,
}  # fmt: skip


def test_shipped_increases_are_those_that_the_project_promises() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    assert {
        scheme: thresholds.limits_for("any", scheme)["perplexity.increase"].max
        for scheme in PUBLISHED_INCREASES
    } == PUBLISHED_INCREASES


@pytest.mark.parametrize(
    ("scheme", "increase", "kl_mean", "same_top", "holds"),
    [
        ("Q8_0", 0.00265, 0.001355, 0.97674, True),
        ("Q6_K", 0.0217, 0.005452, 0.96031, True),
        ("Q4_K_M", 0.1755, 0.03127, 0.91901, True),
        ("Q4_0", 0.4685, 0.07194, 0.9, False),
        ("Q2_K", 3.520, 0.4451, 0.71138, False),
    ],
)
def test_published_llama_3_8b_rows_fall_where_the_comments_say(
    scheme: str, increase: float, kl_mean: float, same_top: float, holds: bool
) -> None:
    limit = bounds(load_thresholds(None, REPOSITORY), "any", scheme)
    held = [
        increase <= limit["perplexity.increase"],
        1 + increase / 6.233 <= limit["perplexity.ratio"],
        kl_mean <= limit["divergence.kl_mean"],
        same_top >= limit["divergence.same_top"],
    ]
    assert all(held) is holds


def test_every_scheme_has_a_limit_on_every_check() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    for layer in thresholds.layers:
        assert ", ".join(thresholds.limits_for("any", layer.pattern)) == CHECKS


# The schema for editors


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=60,
    )  # fmt: skip


def test_schema_file_is_fresh() -> None:
    assert SCHEMA.read_text() == run("qgate.thresholds").stdout, (
        "stale; run: python -m qgate.thresholds > thresholds/schema.json"
    )


def test_schema_is_a_valid_draft_07_schema() -> None:
    checked = run("check_jsonschema", "--check-metaschema", str(SCHEMA))
    assert checked.returncode == 0, checked.stdout


def test_schema_accepts_the_shipped_file_and_what_the_reader_accepts(tmp_path: Path) -> None:
    texts = [
        LAYERED,
        "version: 1\nlimits: {perplexity.ratio: off}\n",
        "version: 1\nlimits: {divergence.same_top: {min: 0.9, rule: alarm, level: 0.9}}\n",
        "version: 1\ntext: {source: auto, windows: 2}\nruntime: {stall_s: 1.5e-1}\n",
    ]
    for number, text in enumerate(texts):
        load(tmp_path, text, name=f"good{number}.yaml")
    good = [str(path) for path in tmp_path.glob("*.yaml")]
    checked = run("check_jsonschema", "--schemafile", str(SCHEMA), str(SHIPPED), *good)
    assert (len(good), checked.returncode) == (4, 0), checked.stdout


def test_schema_refuses_what_the_reader_refuses(tmp_path: Path) -> None:
    texts = [
        "limits: {}\n",
        "version: 2\n",
        "version: 1\nlimitz: {}\n",
        "version: 1\nlimits: {perplexity.incraese: {max: 1}}\n",
        "version: 1\nlimits: {perplexity.ratio: {max: 0.97}}\n",
        "version: 1\nlimits: {perplexity.ratio: {max: 5%}}\n",
        "version: 1\nlimits: {perplexity.ratio: {min: 1.1}}\n",
        "version: 1\nlimits: {perplexity.ratio: {rule: alarm}}\n",
        "version: 1\nlimits: {perplexity.ratio: {max: 1.1, level: 95}}\n",
        "version: 1\nschemes: {Q8_0: {divergence.same_top: {min: 90}}}\n",
        "version: 1\nartifacts: {'a*': {perplexity.ratio: {max: 1.1, unit: nats}}}\n",
        "version: 1\ntext: {windows: 1}\n",
        "version: 1\nruntime: {name: llama.cpp}\n",
    ]
    for number, text in enumerate(texts):
        with pytest.raises(ThresholdsError):
            load(tmp_path, text, name=f"bad{number:02}.yaml")
    bad = sorted(str(path) for path in tmp_path.glob("*.yaml"))
    checked = run("check_jsonschema", "--schemafile", str(SCHEMA), *bad)
    assert [path for path in bad if path not in checked.stdout] == []
