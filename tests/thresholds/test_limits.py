"""Which limit wins, and which file and line it comes from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from qgate.thresholds import BANDS, Thresholds
from tests.thresholds.team_files import LAYERED, SHIPPED, bounds, load

if TYPE_CHECKING:
    from pathlib import Path


def test_users_limit_for_all_wins_over_the_shipped_limit_of_a_band(tmp_path: Path) -> None:
    thresholds = load(tmp_path, "version: 1\nlimits:\n  perplexity.increase: {max: 0.4}\n")
    limit = thresholds.limits_for("llama-q2", "Q2_K", "2 bits")["perplexity.increase"]
    assert (limit.max, str(limit.source), limit.band) == (0.4, "team.yaml:3", "")


def test_what_the_user_leaves_out_keeps_its_shipped_limit_and_line(tmp_path: Path) -> None:
    thresholds = load(tmp_path, "version: 1\nlimits:\n  perplexity.increase: {max: 0.4}\n")
    limit = thresholds.limits_for("llama-q3", "Q3_K_M", "3 bits")["divergence.same_top"]
    line = SHIPPED.read_text().splitlines()[limit.source.line - 1]
    assert (limit.min, limit.source.path, limit.band) == (
        0.69,
        "thresholds/default.yaml",
        "3 bits",
    )
    assert line.strip() == "divergence.same_top: {min: 0.69}"


BY_BITS = """\
version: 1
inherit: none
artifacts:
  "llama-*": {perplexity.ratio: {max: 1.04}}
schemes:
  gptq: {perplexity.ratio: {max: 1.03}}
bands:
  8 bits: {perplexity.ratio: {max: 1.01}, divergence.kl_mean: {max: 0.01}}
  4 bits: {perplexity.ratio: {max: 1.02}}
limits:
  perplexity.ratio: {max: 1.1}
"""


@pytest.mark.parametrize(
    ("artifact_id", "scheme", "band", "limit", "line"),
    [
        ("mistral", "awq", "2 bits", 1.1, 11),
        ("mistral", "awq", "4 bits", 1.02, 9),
        ("mistral", "awq", "8 bits", 1.01, 8),
        ("mistral", "gptq", "8 bits", 1.03, 6),
        ("llama-3", "gptq", "8 bits", 1.04, 4),
    ],
)
def test_a_band_stands_between_all_artifacts_and_schemes(
    tmp_path: Path, artifact_id: str, scheme: str, band: str, limit: float, line: int
) -> None:
    limits = load(tmp_path, BY_BITS).limits_for(artifact_id, scheme, band)
    assert (limits["perplexity.ratio"].max, limits["perplexity.ratio"].source.line) == (limit, line)
    assert ("divergence.kl_mean" in limits) is (band == "8 bits")


def test_users_entry_for_a_scheme_or_an_artifact_wins_over_every_shipped_band(
    tmp_path: Path,
) -> None:
    thresholds = load(
        tmp_path,
        "version: 1\nschemes: {Q8_0: {divergence.kl_mean: {max: 0.002}}}\n"
        "artifacts: {'*-draft': {divergence.kl_mean: {max: 0.5}}}\n",
    )
    kl = {
        name: thresholds.limits_for(name, "Q8_0", "8 bits")["divergence.kl_mean"].max
        for name in ("llama", "llama-draft")
    }
    assert kl == {"llama": 0.002, "llama-draft": 0.5}


@pytest.mark.parametrize(
    ("artifact_id", "scheme", "limit", "line"),
    [
        ("mistral", "Q4_K_M", 1.01, 9),
        ("mistral", "Q8_0", 1.02, 7),
        ("llama-3", "Q8_0", 1.03, 4),
        ("llama-3-draft", "Q8_0", 1.04, 5),
        ("LLAMA-3", "Q4_K_M", 1.01, 9),
    ],
)
def test_artifact_wins_over_scheme_over_all_and_later_globs_over_earlier(
    tmp_path: Path, artifact_id: str, scheme: str, limit: float, line: int
) -> None:
    got = load(tmp_path, LAYERED).limits_for(artifact_id, scheme)["perplexity.ratio"]
    assert (got.max, str(got.source)) == (limit, f"team.yaml:{line}")


SCHEMES = """\
version: 1
inherit: none
limits: {perplexity.ratio: {max: 1.01}}
schemes:
  "Q5_K_S, Q6_K, Q5_0": {perplexity.ratio: {max: 1.5}}
  "Q5_*, q6_?": {perplexity.ratio: {max: 1.03}}
  Q5_K_M: {perplexity.ratio: {max: 1.02}}
"""


@pytest.mark.parametrize(
    ("scheme", "limit"),
    [("Q5_K_M", 1.02), ("q5_k_s", 1.03), ("Q5_0", 1.03), ("Q6_K", 1.03), ("Q4_0", 1.01)],
)
def test_schemes_are_globs_and_lists_of_which_later_ones_win(
    tmp_path: Path, scheme: str, limit: float
) -> None:
    thresholds = load(tmp_path, SCHEMES)
    assert thresholds.limits_for("a", scheme)["perplexity.ratio"].max == limit


def test_bands_may_be_listed(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path, "version: 1\nbands: {'8 bits, 4 bits': {divergence.kl_mean: {max: 0.002}}}\n"
    )
    found = {band: thresholds.limits_for("a", "any", band)["divergence.kl_mean"] for band in BANDS}
    assert [band for band, limit in found.items() if limit.max == 0.002] == ["8 bits", "4 bits"]
    assert {band: limit.band for band, limit in found.items()} == {band: band for band in BANDS}


def test_patterns_that_are_of_no_artifact_are_told_with_the_nearest_name(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path,
        'version: 1\nschemes:\n  "Q4_K_N, Q8_*": {perplexity.ratio: off}\n'
        "artifacts:\n  'lama-*': {perplexity.ratio: off}\n  '*-3': {perplexity.ratio: off}\n",
    )
    assert thresholds.unmatched({"llama-3": "Q4_K_M", "llama-4": "Q8_0"}) == (
        "team.yaml:3: schemes: got 'Q4_K_N', which matches no artifact; expected one of Q4_K_M, "
        "Q8_0. Did you mean 'Q4_K_M'?",
        "team.yaml:5: artifacts: got 'lama-*', which matches no artifact; expected one of llama-3, "
        "llama-4. Did you mean 'llama-4'?",
    )
    # a file that cannot be read may have any scheme
    assert len(thresholds.unmatched({"llama-3": "Q4_K_M", "broken": None})) == 1


def test_entry_replaces_an_inherited_one_as_a_whole(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path,
        "version: 1\nlimits:\n"
        "  perplexity.ratio: {max: 1.1, rule: alarm, level: 0.99, unit: ratio}\n"
        "schemes:\n  Q8_0: {perplexity.ratio: {max: 1.01}}\n",
    )
    above, below = (thresholds.limits_for("a", s)["perplexity.ratio"] for s in ("Q8_0", "Q4_0"))
    assert (above.max, above.rule, above.level) == (1.01, "certify", 0.95)
    assert (below.max, below.rule, below.level) == (1.1, "alarm", 0.99)


@pytest.mark.parametrize("off", ["off", "'off'"])
def test_off_drops_an_inherited_limit_for_those_artifacts_only(tmp_path: Path, off: str) -> None:
    text = f"version: 1\nschemes:\n  Q2_K: {{perplexity.ratio: {off}}}\n"
    thresholds = load(tmp_path, text)
    assert "perplexity.ratio" not in thresholds.limits_for("a", "Q2_K")
    assert "perplexity.ratio" in thresholds.limits_for("a", "Q3_K_M")


def test_later_layer_sets_again_what_an_earlier_one_switched_off(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path,
        "version: 1\ninherit: none\nlimits: {perplexity.ratio: off}\n"
        "artifacts: {'a*': {perplexity.ratio: {max: 1.1}}}\n",
    )
    assert bounds(thresholds, "a1", "Q8_0") == {"perplexity.ratio": 1.1}
    assert bounds(thresholds, "b1", "Q8_0") == {}


def test_without_inheritance_only_the_users_limits_apply(tmp_path: Path) -> None:
    thresholds = load(tmp_path, LAYERED)
    assert set(thresholds.limits_for("mistral", "Q4_K_M")) == {"perplexity.ratio"}
    assert [file.shown for file in thresholds.files] == ["team.yaml"]


def test_files_that_applied_are_named_with_their_digests(tmp_path: Path) -> None:
    files = load(tmp_path, "version: 1\n").files
    assert [(file.shown, file.digest) for file in files] == [
        (shown, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
        for shown, path in (
            ("thresholds/default.yaml", SHIPPED),
            ("team.yaml", tmp_path / "team.yaml"),
        )
    ]


def test_thresholds_of_no_file_have_no_limits() -> None:
    assert list(Thresholds().reachable()) == []
    assert dict(Thresholds().limits_for("a", "Q8_0")) == {}
