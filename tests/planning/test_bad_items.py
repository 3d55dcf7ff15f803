"""What makes the checklist unrunnable ends the run before anything is loaded, with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.planning.conftest import Refuse

GOOD = '{"prompt": "2 + 2 =", "answer": " 4"}\n'
TASK = "version: 1\ntasks:\n  sums: {file: sums.jsonl, max_drop: 0.05}\n"
ITEMS: dict[str, tuple[str | bytes, str]] = {
    "not JSON": (
        f"{GOOD}\n" + "{'prompt': 'a'}\n",
        "sums.jsonl:3: not JSON: got ",
    ),
    "an item twice": (
        GOOD + '{"prompt": "1 + 1 =", "answer": " 2"}\n' + GOOD,
        "sums.jsonl:3: duplicate item: got '2 + 2 =' with the same answer as on line 1;"
        " expected every item once.",
    ),
    "an id twice": (
        '{"id": 7, "prompt": "1 +", "answer": "1"}\n{"id": 7, "prompt": "2 +", "answer": "2"}\n',
        "sums.jsonl:2: duplicate id: got '7' as on line 1; expected another id.",
    ),
    "no answer": (
        f'{GOOD}{{"prompt": "3 + 3 ="}}\n',
        "sums.jsonl:2: no answer: got the keys 'prompt'; expected 'answer'.",
    ),
    "a blank answer": (
        '{"prompt": "3 + 3 =", "answer": " "}\n',
        "sums.jsonl:1: answer: got ' '; expected a text that is not blank.",
    ),
    "an answer that is no choice": (
        '{"prompt": "Water is", "choices": [" wet", " dry"], "answer": "wet"}\n',
        "sums.jsonl:1: answer: got 'wet'; expected one of the choices ' wet', ' dry'.",
    ),
    "two kinds": (
        f'{GOOD}{{"prompt": "Water is", "choices": [" wet", " dry"], "answer": " wet"}}\n',
        "sums.jsonl:2: mixed kinds: ",
    ),
    "nothing": ("\n\n", "sums.jsonl:1: got nothing but blank lines; expected JSON lines such as "),
    "not a text": (b'{"prompt": "\xff", "answer": "a"}\n', "sums.jsonl:1: not UTF-8: "),
}


@pytest.mark.parametrize("case", ITEMS)
def test_a_wrong_item_ends_the_run_with_its_line(
    project: Path, refuse: Refuse, toys: Callable[..., Path], case: str
) -> None:
    text, beginning = ITEMS[case]
    (project / "sums.jsonl").write_bytes(text if isinstance(text, bytes) else text.encode())
    (project / "limits.yaml").write_text(TASK)

    assert refuse(toys(good=Toy())).startswith(beginning)


LIMITS = {
    "a file of items that is not there": (
        TASK,
        "limits.yaml:3: tasks.sums.file: no such file: got 'sums.jsonl'; expected a path ending in"
        " .jsonl, relative to this file.",
    ),
    "a percentile of too few requests": (
        "version: 1\nlimits:\n  latency.ttft_slo: {percentile: 99, max_ms: 200}\n",
        "limits.yaml:3: latency.ttft_slo: percentile 99 needs 459 requests at level 0.98;"
        " got latency.pairs: 24. Set latency.pairs: 459 or more, or hold a lower percentile.",
    ),
    "a row that the runtime cannot measure": (
        "version: 1\nlimits:\n  memory.peak: {max: 0.8}\n",
        "limits.yaml:3: memory.peak: got a limit for good, which 'fake' serves; expected a runtime"
        " that measures memory. Remove the limit, or name another runtime",
    ),
    "a budget without a unit": (
        "version: 1\nlimits:\n  memory.fits: {vram: 24, context: 8192}\n",
        "limits.yaml:3: memory.fits: got vram; expected vram_gib or ram_gib."
        " Write vram_gib: 24 or ram_gib: 24, in GiB.",
    ),
    "a budget without a context": (
        "version: 1\nlimits:\n  memory.fits: {ram_gib: 24}\n",
        "limits.yaml:3: memory.fits: ",
    ),
    "a drop with a sign": (
        "version: 1\nlimits:\n  edge.math: {max_drop: -0.02}\n",
        "limits.yaml:3: edge.math.max_drop: got -0.02; expected ",
    ),
    "a task that nobody named": (
        "version: 1\nlimits:\n  accuracy.dril: {max_drop: 0.02}\n",
        "limits.yaml:3: unknown check 'accuracy.dril' in limits. Did you mean 'accuracy.drill'?",
    ),
    "a task off that was never on": (
        "version: 1\ntasks: {dril: off}\n",
        "limits.yaml:2: tasks.dril: got off; expected an inherited task. Did you mean 'drill'?",
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_a_limit_that_cannot_be_held_ends_the_run_with_its_line(
    project: Path, refuse: Refuse, toys: Callable[..., Path], case: str
) -> None:
    text, beginning = LIMITS[case]
    (project / "limits.yaml").write_text(text)

    assert refuse(toys(good=Toy())).startswith(beginning)
