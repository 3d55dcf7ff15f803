"""Which limit wins, which settings hold, and which file and line they come from."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.thresholds import RuntimeSettings, TextSettings
from tests.thresholds.loading import LAYERED, SHIPPED, bounds, load

if TYPE_CHECKING:
    from pathlib import Path

# Which limit wins


def test_users_limit_for_all_wins_over_the_shipped_limit_of_a_scheme(tmp_path: Path) -> None:
    thresholds = load(tmp_path, "version: 1\nlimits:\n  perplexity.increase: {max: 0.4}\n")
    limit = thresholds.limits_for("llama-q2", "Q2_K")["perplexity.increase"]
    assert (limit.max, str(limit.source)) == (0.4, "team.yaml:3")


def test_what_the_user_leaves_out_keeps_its_shipped_limit_and_line(tmp_path: Path) -> None:
    thresholds = load(tmp_path, "version: 1\nlimits:\n  perplexity.increase: {max: 0.4}\n")
    limit = thresholds.limits_for("llama-q3", "Q3_K_M")["divergence.same_top"]
    line = SHIPPED.read_text().splitlines()[limit.source.line - 1]
    assert (limit.min, limit.source.path) == (0.83, "thresholds/default.yaml")
    assert line.strip() == "divergence.same_top: {min: 0.83}"


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


# Settings


def test_settings_are_taken_key_by_key(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path, "version: 1\ntext: {windows: 8, seed: 7}\nruntime: {name: fake, threads: 2}\n"
    )
    assert thresholds.text == TextSettings(windows=8, seed=7)
    assert thresholds.runtime == RuntimeSettings(name="fake", threads=2)


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "gates").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "own.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "gates" / "python").symlink_to(sys.executable)
    thresholds = load(
        tmp_path,
        "version: 1\ntext: {source: ../texts/own.jsonl}\nruntime: {python: python}\n",
        name="gates/team.yaml",
    )
    assert thresholds.text.source == tmp_path / "gates" / ".." / "texts" / "own.jsonl"
    # not resolved: a virtual environment's interpreter is a link and must be started as one
    assert thresholds.runtime.python == tmp_path / "gates" / "python"


@pytest.mark.parametrize("source", ["auto", "generated", "wikitext-2"])
def test_source_words_stay_words(tmp_path: Path, source: str) -> None:
    assert load(tmp_path, f"version: 1\ntext: {{source: {source}}}\n").text.source == source
