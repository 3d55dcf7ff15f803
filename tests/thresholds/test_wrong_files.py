"""A thresholds file with a mistake is refused: in one line, with its place and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from tests.thresholds.team_files import CHECKS, load

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = (
    "version, inherit, text, runtime, runtimes, tasks, edge, latency, memory, limits, bands, "
    "schemes, artifacts"
)

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
        "Valid: source, windows, window_tokens, conversation_tokens, seed, extend, positions.",
    ),
    (
        "limits:\n  perplexity.incraese: {max: 1}",
        "3: unknown check 'perplexity.incraese' in limits. Did you mean 'perplexity.increase'? "
        f"Valid: {CHECKS}.",
    ),
    (
        "schemes:\n  Q8_0:\n    latency: {max: 1}",
        f"4: unknown check 'latency' in schemes.Q8_0. Did you mean 'latency.tps'? Valid: {CHECKS}.",
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
        "4: duplicate key 'q8_0' in schemes, first on line 3 as 'Q8_0'. Remove one.",
    ),
    (
        'schemes: {Q4_0: {}, "q4_0, Q4_1": {}}',
        "2: duplicate key 'q4_0' in schemes, first on line 2 as 'Q4_0'. Remove one.",
    ),
    (
        "schemes: {'Q4_0,': {}}",
        "2: got 'Q4_0,'; expected a name, or several with commas between them, as keys of schemes.",
    ),
    (
        f"text: {{windows: 1{'0' * 999}}}",
        f"2: text.windows: got 1{'0' * 56}...; expected a whole number >= 2 and <= 2147483647.",
    ),
    ("? [a, b]\n: 1", "2: got a list as a key; expected a word."),
    ("limits: {'': {max: 1}}", "2: got '' as a key in limits; expected a word."),
    # shapes
    ("limits:", "2: limits: got nothing; expected a mapping."),
    ("schemes: {Q8_0: 0.5}", "2: schemes.Q8_0: got '0.5'; expected a mapping."),
    (
        "limits:\n  perplexity.increase: 0.5",
        "3: perplexity.increase: got '0.5'; expected a mapping such as {max: ...}, or off to drop "
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
        "3: runtime.python: no such file: got 'bin/python'; expected an executable file, absolute "
        "or relative to this file.",
    ),
    (
        "text:\n  source: wikitext2",
        "3: text.source: got 'wikitext2'; expected auto, answers, generated, wikitext-2 or a "
        "path ending in .txt, .raw, .jsonl, .json, relative to this file. "
        "Did you mean 'wikitext-2'?",
    ),
    (
        "text:\n  source: gone.txt",
        "3: text.source: no such file: got 'gone.txt'; expected auto, answers, generated, "
        "wikitext-2 or a path ending in .txt, .raw, .jsonl, .json, relative to this file.",
    ),
    # whole numbers
    (
        "text: {windows: 64.0}",
        "2: text.windows: got 64.0; expected a whole number >= 2 and <= 2147483647.",
    ),
    (
        "text: {windows: " + "9" * 5000 + "}",
        "2: text.windows: got " + "9" * 57 + "...; expected a whole number >= 2 and <= 2147483647.",
    ),
    (
        "text: {seed: [1]}",
        "2: text.seed: got a list; expected a whole number >= 0 and <= 2147483647.",
    ),
    (
        "runtime: {stall_s: 300s}",
        "2: runtime.stall_s: got '300s'; expected a number > 0. Write the number alone: 300.",
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


def test_all_mistakes_of_a_file_are_reported_in_the_order_of_its_lines(tmp_path: Path) -> None:
    text = """\
version: 1
memory: {batches: 3, warmup_batch: 1}
tasks:
  own: {file: gone.jsonl, max_drop: 2}
limits:
  accuracy.own: {max_drop: 0.02}
  perplexity.ratio: {max: 5%, level: 95}
  perplexity.ratio: {max: 1.1}
  edge.math: {}
bands: {9 bits: {}}
schemes:
  "Q4_0, Q4_1": {divergence.same_top: {min: 90}}
latency: {pairs: 6}
"""
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, text)
    lines = str(refusal.value).splitlines()
    assert [line.partition(";")[0].partition(". ")[0] for line in lines] == [
        "team.yaml:2: unknown key 'warmup_batch' in memory",
        "team.yaml:2: memory.batches: got 3",
        "team.yaml:4: tasks.own.max_drop: got 2",
        "team.yaml:4: tasks.own.file: no such file: got 'gone.jsonl'",
        "team.yaml:7: perplexity.ratio.max: got '5%'",
        "team.yaml:7: perplexity.ratio.level: got 95",
        "team.yaml:8: duplicate key 'perplexity.ratio' in limits, first on line 7",
        "team.yaml:9: edge.math: no max_drop",
        "team.yaml:10: unknown key '9 bits' in bands",
        "team.yaml:12: divergence.same_top.min: got 90",
    ]


def test_of_very_many_mistakes_the_first_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    keys = "".join(f"key{number}: 1\n" for number in range(60))
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, f"version: 1\n{keys}")
    *shown, last = str(refusal.value).splitlines()
    assert (len(shown), last) == (50, "team.yaml: and 10 more mistakes.")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            'tasks:\n  "a\\u2028\\e[2J": {file: own.jsonl}',
            r"3: tasks.a\u2028\x1b[2J: got 'a\u2028\x1b[2J' as a name; expected a word of a-z, 0-9"
            " and _ such as next_sentence.",
        ),
        (
            'artifacts:\n  "\\e[2J": 3',
            r"3: artifacts.\x1b[2J: got '3'; expected a mapping.",
        ),
        (
            'text: {source: "\\U00110000"}',
            "2: not valid YAML: got a number or a character that cannot be; expected one that can.",
        ),
        (
            'text: {source: "\\UFFFFFFFF"}',
            "2: not valid YAML: got a number or a character that cannot be; expected one that can.",
        ),
    ],
)
def test_characters_that_a_terminal_or_yaml_cannot_take_are_named(
    team: Path, body: str, message: str
) -> None:
    with pytest.raises(ThresholdsError) as caught:
        load(team, f"version: 1\n{body}\n")
    assert str(caught.value) == f"team.yaml:{message}"
