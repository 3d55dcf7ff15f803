"""Files that a team writes: whatever is in them, they are read or refused with file and line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qgate.errors import ThresholdsError
from qgate.measure.tasks.items import read_items
from tests.properties.mutations import changed_bytes, changed_json, changed_values
from tests.thresholds.team_files import SHIPPED, load

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DrawFn

TEAM: dict[str, Any] = {
    "version": 1,
    "text": {"windows": 64, "window_tokens": 512, "seed": 1},
    "runtime": {"name": "llama_cpp"},
    "tasks": {"own": {"file": "own.jsonl", "max_drop": 0.02, "items": 10}},
    "latency": {"concurrency": 1, "prompt_tokens": 512},
    "limits": {
        "perplexity.ratio": {"max": 1.05, "rule": "certify", "level": 0.95},
        "divergence.same_top": {"min": "90 %"},
        "memory.peak": {"max": "20 GiB"},
    },
    "bands": {"below 3": {"perplexity.ratio": {"max": 1.3}}},
    "schemes": {"Q8_0, Q6_K": {"perplexity.ratio": {"max": 1.02}}},
    "artifacts": {"llama-*": {"latency.ttft": {"max": "300 ms"}}},
}
LINES = (
    "- - - - ", "  : ", "&a [*a, *a]", "a: &a {<<: *a}", "\t", "? ", "!!python/object:os.system x",
    "%YAML 9.9", "---", "limits: {perplexity.ratio: {max: .nan}}", "0x_: 1:30", "version: 1",
    "\x85", "\u2028", "[" * 3000, "&a " * 3000, "a: " * 300, "2001-99-99", "1" * 5000, "=",
)  # fmt: skip


@pytest.fixture(scope="module")
def team(place: Path) -> Path:
    """A team's directory, with a file of items in it."""
    (place / "own.jsonl").write_text('{"prompt": "2 + 2 =", "answer": " 4"}\n')
    return place


@st.composite
def thresholds(draw: DrawFn) -> str:
    """The text of a thresholds file that has mistakes in its values, its lines or its letters."""
    changed = draw(changed_values(TEAM))
    text = yaml.safe_dump(changed, allow_unicode=draw(st.booleans()), sort_keys=False)
    if draw(st.integers(0, 2)) == 0:
        lines = text.splitlines()
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
        text = "\n".join(lines)
    if draw(st.integers(0, 2)) == 0:
        raw = draw(changed_bytes(text.encode(errors="surrogatepass")))
        text = raw.decode("utf-8", "replace")
    return text.encode(errors="replace").decode()


@given(text=thresholds())
def test_a_thresholds_file_is_read_or_refused_by_line(team: Path, text: str) -> None:
    try:
        load(team, text)
    except ThresholdsError as error:
        _require_places(error, "team.yaml")


@pytest.mark.slow
@given(raw=changed_bytes(SHIPPED.read_bytes()[:4000]))
def test_the_bytes_of_a_thresholds_file_may_be_anything(team: Path, raw: bytes) -> None:
    (team / "base.yaml").write_bytes(raw)
    try:
        load(team, "version: 1\ninherit: base.yaml\n")
    except ThresholdsError as error:
        _require_places(error, "(team|base).yaml")


def _require_places(error: ThresholdsError, name: str) -> None:
    for line in str(error).splitlines():
        assert line.isprintable()
        assert len(line) < 2000
        assert re.match(rf"({name}(:\d+)?|.*default\.yaml:\d+): ", line), line


ITEMS = (
    {"prompt": "2 + 2 =", "answer": " 4", "id": "sum", "group": "maths"},
    {"prompt": "Water is", "choices": [" wet", " dry"], "answer": " wet"},
    {"prompt": "def double(x):\n", "tests": ["assert double(2) == 4"]},
    {"prompt": "Ice is", "choices": [" cold", " hot"], "answer": 0},
)


@st.composite
def item_files(draw: DrawFn) -> bytes:
    """Lines of items of one kind, of which some are wrong."""
    kind = draw(st.sampled_from(ITEMS))
    lines = [json.dumps({**kind, "id": f"{number}"}).encode() for number in range(3)]
    for number in draw(st.lists(st.integers(0, 2), max_size=2)):
        lines[number] = draw(changed_json(kind))
    raw = draw(st.sampled_from((b"\n", b"\r\n", b"\n\n"))).join(lines)
    return draw(st.one_of(st.just(raw), changed_bytes(raw)))


@given(raw=item_files(), most=st.one_of(st.none(), st.integers(1, 4)), is_code=st.booleans())
def test_a_task_file_is_read_or_refused_by_line(
    team: Path, raw: bytes, most: int | None, is_code: bool
) -> None:
    path = team / "items.jsonl"
    path.write_bytes(raw)
    try:
        found = read_items(path, "items.jsonl", max_samples=most, is_code=is_code)
    except ThresholdsError as error:
        _require_places(error, "items.jsonl")
    else:
        assert 1 <= len(found.items) <= (most or found.available) <= 10
        assert all(item.prompt and item.prompt.encode() for item in found.items)
