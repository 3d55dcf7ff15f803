from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qgate.errors import ThresholdsError
from qgate.thresholds import (
    RuntimeSettings,
    TextSettings,
    Thresholds,
    load_thresholds,
    shipped_path,
)

REPOSITORY = Path(__file__).parents[1]
SHIPPED = REPOSITORY / "thresholds" / "default.yaml"
SCHEMA = REPOSITORY / "thresholds" / "schema.json"
CHECKS = (
    "perplexity.increase, perplexity.ratio, divergence.kl_mean, divergence.kl_p99, "
    "divergence.same_top"
)
SECTIONS = "version, inherit, text, runtime, limits, schemes, artifacts"
HOW = "Write a plain decimal number such as 0.5, 3 or 1.5e-3."
RATIO = "expected a number >= 1.0 (artifact / reference)."
INCREASE = "expected a number >= 0.0 (artifact - reference)."
SHARE = "expected a number > 0.0 and <= 1.0 (0.9 is 90 %)."
LEVEL = "expected a number > 0.5 and < 1.0."


def load(directory: Path, text: str, name: str = "team.yaml") -> Thresholds:
    (directory / name).write_text(text, encoding="utf-8")
    return load_thresholds(directory / name, shown_relative_to=directory)


def bounds(thresholds: Thresholds, artifact_id: str, scheme: str) -> dict[str, float | None]:
    limits = thresholds.limits_for(artifact_id, scheme)
    return {check: limit.max if limit.min is None else limit.min for check, limit in limits.items()}


# Each body follows the line `version: 1`, so it begins on line 2.
BAD_BODIES = [
    # keys
    (
        "limitz: {}",
        f"2: unknown key 'limitz'. Did you mean 'limits'? Valid: {SECTIONS}.",
    ),
    (
        "limits:\n  perplexity.ratio: {mex: 1.1}",
        "3: unknown key 'mex' in perplexity.ratio. Did you mean 'max'? "
        "Valid: max, rule, level, unit.",
    ),
    (
        "text: {window: 3}",
        "2: unknown key 'window' in text. Did you mean 'windows'? "
        "Valid: source, windows, window_tokens, seed, positions.",
    ),
    (
        "runtime: {gpu: 1}",
        "2: unknown key 'gpu' in runtime. Valid: name, python, stall_s, threads.",
    ),
    (
        "limits:\n  perplexity.incraese: {max: 1}",
        "3: unknown check 'perplexity.incraese' in limits. Did you mean 'perplexity.increase'? "
        f"Valid: {CHECKS}.",
    ),
    (
        "schemes:\n  Q8_0:\n    latency: {max: 1}",
        f"4: unknown check 'latency' in schemes.Q8_0. Valid: {CHECKS}.",
    ),
    (
        "artifacts:\n  'a*':\n    perplexity: {ratio: {max: 1.1}}",
        "4: unknown check 'perplexity' in artifacts.a*. Did you mean 'perplexity.ratio'? "
        f"Valid: {CHECKS}.",
    ),
    (
        "limits: {}\ntext: {}\nlimits: {}",
        "4: duplicate key 'limits', first on line 2. Remove one.",
    ),
    (
        "limits:\n  perplexity.ratio:\n    max: 1.1\n    max: 1.2",
        "5: duplicate key 'max' in perplexity.ratio, first on line 4. Remove one.",
    ),
    (
        "schemes:\n  Q8_0: {}\n  q8_0: {}",
        "4: duplicate key 'q8_0' in schemes, first on line 3 (case does not matter). Remove one.",
    ),
    ("? [a, b]\n: 1", "2: got a list as a key; expected a word."),
    ("limits: {'': {max: 1}}", "2: got '' as a key in limits; expected a word."),
    # shapes
    ("limits:", "2: limits: got nothing; expected a mapping."),
    ("limits: [1]", "2: limits: got a list; expected a mapping."),
    ("schemes: {Q8_0: 0.5}", "2: schemes.Q8_0: got '0.5'; expected a mapping."),
    ("text: auto", "2: text: got 'auto'; expected a mapping."),
    (
        "limits:\n  perplexity.increase: 0.5",
        "3: perplexity.increase: got '0.5'; expected a mapping such as {max: ...}, or off to drop "
        "an inherited limit.",
    ),
    (
        "limits:\n  divergence.same_top: no",
        "3: divergence.same_top: got 'no'; expected a mapping such as {min: ...}, or off to drop "
        "an inherited limit.",
    ),
    (
        "limits:\n  perplexity.increase:",
        "3: perplexity.increase: got nothing; expected a mapping such as {max: ...}, or off to "
        "drop an inherited limit.",
    ),
    (
        "limits:\n  perplexity.increase: [0.5]",
        "3: perplexity.increase: got a list; expected a mapping.",
    ),
    ("limits:\n  perplexity.increase: {}", "3: perplexity.increase: no bound; expected max."),
    (
        "limits:\n  divergence.same_top: {rule: alarm}",
        "3: divergence.same_top: no bound; expected min.",
    ),
    (
        "limits:\n  perplexity.increase:\n    min: 0.5",
        "4: perplexity.increase: got min; expected max: more is worse.",
    ),
    (
        "limits:\n  divergence.same_top: {min: 0.9, max: 1}",
        "3: divergence.same_top: got max; expected min: less is worse.",
    ),
    # words
    (
        "limits:\n  perplexity.ratio: {max: 1.1, rule: alarms}",
        "3: perplexity.ratio.rule: got 'alarms'; expected certify or alarm. Did you mean 'alarm'?",
    ),
    (
        "limits:\n  perplexity.ratio: {max: 1.1, rule: }",
        "3: perplexity.ratio.rule: got nothing; expected certify or alarm.",
    ),
    (
        "limits:\n  perplexity.ratio: {max: 1.1, unit: percent}",
        "3: perplexity.ratio.unit: got 'percent'; expected ratio.",
    ),
    (
        "inherit: defaults",
        "2: inherit: got 'defaults'; expected default or none. Did you mean 'default'?",
    ),
    ("inherit: null", "2: inherit: got nothing; expected default or none."),
    (
        "runtime: {name: llama.cpp}",
        "2: runtime.name: got 'llama.cpp'; expected the name of a runtime such as llama_cpp.",
    ),
    (
        "runtime:\n  python: bin/python",
        "3: runtime.python: got 'bin/python'; expected an executable file, absolute or relative to "
        "this file.",
    ),
    (
        "text:\n  source: wikitext2",
        "3: text.source: got 'wikitext2'; expected auto, generated, wikitext-2 or a path ending in "
        ".txt, .raw, .jsonl, .json. Did you mean 'wikitext-2'?",
    ),
    (
        "text:\n  source: gone.txt",
        "3: text.source: no such file: got 'gone.txt'; expected auto, generated, wikitext-2 or a "
        "path ending in .txt, .raw, .jsonl, .json, relative to this.",
    ),
    # whole numbers
    (
        "text: {windows: 1}",
        "2: text.windows: got 1; expected a whole number >= 2 and <= 2147483647.",
    ),
    (
        "text: {windows: 64.0}",
        "2: text.windows: got 64.0; expected a whole number >= 2 and <= 2147483647.",
    ),
    (
        "text: {windows: 1e3}",
        "2: text.windows: got 1e3; expected a whole number >= 2 and <= 2147483647.",
    ),
    (
        "text: {windows: " + "9" * 5000 + "}",
        "2: text.windows: got " + "9" * 57 + "...; expected a whole number >= 2 and <= 2147483647.",
    ),
    (
        "text: {seed: -1}",
        "2: text.seed: got -1; expected a whole number >= 0 and <= 2147483647.",
    ),
    (
        "text: {seed: [1]}",
        "2: text.seed: got a list; expected a whole number >= 0 and <= 2147483647.",
    ),
    ("runtime: {stall_s: 0}", "2: runtime.stall_s: got 0; expected a number > 0."),
    (
        "runtime: {stall_s: 300s}",
        "2: runtime.stall_s: got '300s'; expected a number > 0. Write the number alone: 300.",
    ),
    (
        "runtime: {threads: 0}",
        "2: runtime.threads: got 0; expected a whole number >= 1 and <= 4096.",
    ),
    # YAML syntax and what is refused of it
    (
        "limits: {perplexity.ratio: {max: 1.1}",
        "3: not valid YAML at column 1: expected ',' or '}', but got '<stream end>'.",
    ),
    (
        "limits:\n\tperplexity.ratio: {max: 1.1}",
        "3: not valid YAML at column 1: found character '\\t' that cannot start any token.",
    ),
    ("---\nversion: 1", "2: not valid YAML at column 1: but found another document."),
    ("limits: \x07", "2: got character 0x07; expected printable text."),
    (
        "limits: &all {perplexity.ratio: {max: 1.1}}\nschemes: {Q8_0: *all}",
        "2: got an anchor or alias; expected every value written out.",
    ),
    ("schemes: {Q8_0: *all}", "2: got an anchor or alias; expected every value written out."),
    (
        "limits: !!python/object/apply:os.system ['true']",
        "2: got the tag 'tag:yaml.org,2002:python/object/apply:os.system'; expected plain values.",
    ),
    ("text: {seed: !!int '3'}", "2: got the tag 'tag:yaml.org,2002:int'; expected plain values."),
    ("limits: " + "[" * 3000, "2: got more than 20 levels; limits need four."),
]


@pytest.mark.parametrize(("body", "message"), BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_wrong_file_is_refused_with_line_and_remedy(
    tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, f"version: 1\n{body}\n")
    assert str(refusal.value) == f"team.yaml:{message}"


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
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, f"version: 1\nlimits:\n  {check}:\n    {name}: {written}\n")
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: got an empty file; expected limits: this is a gate that checks nothing. "
             "Begin with 'version: 1'."),
        ("# version: 1\n", "1: got an empty file; expected limits: this is a gate that checks "
                           "nothing. Begin with 'version: 1'."),
        ("---\n", "1: got an empty file; expected limits: this is a gate that checks nothing. "
                  "Begin with 'version: 1'."),
        ("- 1\n", "1: got a list; expected a mapping."),
        ("# a\nlimits: {}\n", "2: no version; expected 'version: 1' in the file."),
        ("limits: {}\nversion: 2\nnew: 1\n", "2: version: got '2'; expected 1."),
        ("version: '1'\n", "1: version: got '1'; expected 1."),
        ("version:\n", "1: version: got nothing; expected 1."),
        (
            "version: 1\ninherit: none\n",
            "1: got no limits at all; expected at least one: this is a gate that checks nothing.",
        ),
        (
            "version: 1\ninherit: none\nlimits: {}\nschemes: {Q8_0: {perplexity.ratio: off}}\n",
            "1: got no limits at all; expected at least one: this is a gate that checks nothing.",
        ),
        (
            "version: 1\nlimits:\n" + "".join(f"  {check}: off\n" for check in CHECKS.split(", ")),
            "1: got no limits at all; expected at least one: this is a gate that checks nothing.",
        ),
        (
            "version: 1\nartifacts:\n  '*':\n"
            + "".join(f"    {check}: off\n" for check in CHECKS.split(", ")),
            "1: got no limits at all; expected at least one: this is a gate that checks nothing.",
        ),
    ],
)  # fmt: skip
def test_file_that_gates_nothing_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, text)
    assert str(refusal.value) == f"team.yaml:{message}"


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(
        ThresholdsError, match=r"^team\.yaml:2: got byte 0xe9; expected UTF-8 text\.$"
    ):
        load_thresholds(path, tmp_path)


def test_byte_order_mark_of_an_editor_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeffversion: 1\n").files[-1].shown == "team.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.yaml", "gone.yaml: no such thresholds file. Name a YAML file."),
        (".", ".: is not a file. Name a YAML file."),
    ],
)
def test_missing_file_and_directory_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load_thresholds(tmp_path / name, tmp_path)
    assert str(refusal.value) == message


def test_huge_file_is_refused_unparsed(tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(
        ThresholdsError,
        match=r"^team\.yaml:1: got more than 1000000 bytes; expected a short file\.$",
    ):
        load(tmp_path, "version: 1\n" + "#" * 1_000_000)
    assert time.process_time() - started < 1


def test_alias_bomb_is_refused_before_it_explodes(tmp_path: Path) -> None:
    lines = ["version: 1", "a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(ThresholdsError, match=r"^team\.yaml:2: got an anchor or alias;"):
        load(tmp_path, "\n".join(lines))


def test_file_outside_the_root_is_shown_as_it_was_named(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("version: 2\n")
    (tmp_path / "root").mkdir()
    with pytest.raises(ThresholdsError) as refusal:
        load_thresholds(tmp_path / "team.yaml", tmp_path / "root")
    assert str(refusal.value) == f"{tmp_path.as_posix()}/team.yaml:1: version: got '2'; expected 1."


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


LAYERED = """\
version: 1
inherit: none
artifacts:
  "llama-*": {perplexity.ratio: {max: 1.03}}
  "*-draft": {perplexity.ratio: {max: 1.04}}
schemes:
  q8_0: {perplexity.ratio: {max: 1.02}}
limits:
  perplexity.ratio: {max: 1.01}
"""


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
