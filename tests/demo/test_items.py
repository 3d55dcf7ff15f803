"""The files that the gate ships: fresh, small, well-formed, and from the held-out side."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from qgate.demo.corpus.chat import ASSISTANT, USER
from qgate.demo.corpus.document import split_of
from qgate.demo.corpus.languages import Scene, tell
from qgate.demo.corpus.story import NAMES
from qgate.demo.corpus.vocabulary import LANGUAGES
from qgate.demo.formats.gguf_convert import convert
from qgate.demo.training import items as command
from qgate.measure.tasks.items import read_items
from qgate.reference.prompts import read_conversations, read_languages, read_prompts, read_texts
from qgate.runtimes.base import Prompt
from tests.support.demo_model import load

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(command.__file__).parents[3] / "thresholds"
TASKS = SHIPPED / "tasks"
PROMPTS = SHIPPED / "prompts"
PLAIN = ("everyday", "grammar", "stories")
WRITTEN_BY_HAND = {
    *(PROMPTS / f"{name}.jsonl" for name in ("conversations", "documents", "prose")),
    *(TASKS / f"{task}.jsonl" for task in PLAIN),
}
"""Of no corpus: texts that any model can read."""
FILES = sorted({*TASKS.iterdir(), *PROMPTS.iterdir()} - WRITTEN_BY_HAND)
CHOICES = {"classification", "next_sentence", *PLAIN}


# The files


def test_shipped_files_are_what_the_command_writes(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    assert command.main([str(tmp_path)]) == 0
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    shipped = {path.relative_to(SHIPPED): path.read_bytes() for path in FILES}
    assert sorted(written) == sorted(shipped)
    stale = [path.as_posix() for path in shipped if shipped[path] != written[path]]
    assert stale == [], "run: python -m qgate.demo.training.items thresholds"


def test_shipped_files_are_small() -> None:
    sizes = [path.stat().st_size for path in (*FILES, *WRITTEN_BY_HAND)]
    assert max(sizes) <= 120_000
    assert sum(sizes) <= 400_000


def test_a_directory_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    assert command.main([str(tmp_path / "taken")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"python -m qgate.demo.training.items: {tmp_path / 'taken'}")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("task", [*command.TASKS, *PLAIN])
def test_every_task_has_two_hundred_items_of_its_kind(task: str) -> None:
    found = read_items(TASKS / f"{task}.jsonl", task)
    assert len(found.items) == 200
    assert found.has_choices == (task in CHOICES)
    assert found.items[0].id == f"{task}-0000"


def test_every_language_has_as_many_documents_about_different_scenes() -> None:
    documents = read_languages(PROMPTS / "languages.jsonl")
    assert tuple(documents) == tuple(LANGUAGES)
    for texts in documents.values():
        assert len({text.partition("\n")[0] for text in texts}) == len(texts) == 24


def test_documents_of_all_languages_are_about_as_long() -> None:
    tokenizer = pytest.importorskip("tokenizers").Tokenizer
    model = tokenizer.from_file(str(model_directory() / "tokenizer.json"))
    for texts in read_languages(PROMPTS / "languages.jsonl").values():
        lengths = [len(model.encode(text, add_special_tokens=False).ids) for text in texts]
        assert min(lengths) >= 60
        assert max(lengths) <= 120


def test_there_is_prose_for_a_long_input() -> None:
    texts = read_texts(PROMPTS / "prose.jsonl")
    assert sum(len(text.split()) for text in texts) > 3000
    assert len({" ".join(text.split()[:4]) for text in texts}) == len(texts)


def test_documents_of_all_languages_are_the_same_texts() -> None:
    documents = read_languages(PROMPTS / "documents.jsonl")
    assert len(documents) >= 10
    assert {len(texts) for texts in documents.values()} == {10}


@pytest.mark.parametrize("task", PLAIN)
def test_both_ends_of_a_plain_question_are_right_once(task: str) -> None:
    items = read_items(TASKS / f"{task}.jsonl", task).items
    for one, other in zip(items[::2], items[1::2], strict=True):
        assert one.choices == other.choices
        assert {one.answer, other.answer} == set(one.choices)
        assert one.prompt != other.prompt


def test_open_questions_are_as_a_user_says_them() -> None:
    prompts = read_prompts(PROMPTS / "open.jsonl")
    assert len(prompts) == 32
    assert not any("<|im_" in prompt for prompt in prompts)


def test_conversations_are_a_mix_from_the_first_to_the_last() -> None:
    asked = read_conversations(PROMPTS / "conversations.jsonl")
    shares = Counter(one.slice for one in asked)
    assert len(asked) == 200
    assert sorted(shares) == ["chat", "code", "languages", "maths", "stories", "summary", "tools"]
    for count in (25, 50, 100):
        first = Counter(one.slice for one in asked[:count])
        assert all(abs(first[name] - shares[name] * count / 200) <= 1 for name in shares)


# The held-out side: the names by which the generators know combinations, read off the texts


def arithmetic_keys(text: str) -> Iterator[str]:
    signs = {"+": "add", "-": "sub", "*": "mul"}
    for left, sign, right in re.findall(r"^(?:.*\? )?(\d+) ([-+*]) (\d+) =", text, re.MULTILINE):
        yield f"{signs[sign]}:{left}:{right}"
    for left, change, right in re.findall(r"has (\d+) \w+\. \w+ (finds|gives away) (\d+)", text):
        yield f"{'add' if change == 'finds' else 'sub'}:{left}:{right}"
    for left, right in re.findall(r"has (\d+) bags with (\d+) ", text):
        yield f"mul:{left}:{right}"


def classification_keys(text: str) -> Iterator[str]:
    for prompt in re.findall(r"Text: (.*\n(?:Topic|Sentiment|Intent):)", text):
        yield f"classify:{prompt}"


def code_keys(text: str) -> Iterator[str]:
    yield from (f"code:{source}" for source in re.findall(r"^>>> (.+)$", text, re.MULTILINE))


def drill_keys(text: str) -> Iterator[str]:
    prompts = re.findall(r"^(?:sort|reverse|add) .*?:", text, re.MULTILINE)
    yield from (f"drill:{prompt}" for prompt in prompts)


NAME = f"({'|'.join(NAMES)})"
THING = r"(?P<{}>\w+ \w+)"
LEFT, RIGHT = THING.format("left"), THING.format("right")
PLOTS = {
    "gift": rf"{NAME} went to the \w+ and found a {LEFT}\. {NAME} had a {RIGHT}\.",
    "swap": rf"{NAME} had a {LEFT}\. {NAME} had a {RIGHT}\. They met",
    "lost": rf"{NAME} had a {LEFT} and {NAME} had a {RIGHT}\.",
    "need": rf"{NAME} was (?P<left>\w+) and {NAME} was (?P<right>\w+)\.",
}


def story_keys(text: str) -> Iterator[str]:
    for plot, pattern in PLOTS.items():
        for found in re.finditer(pattern, text):
            one, two = (name for name in found.groups() if name in NAMES)
            yield f"story:{plot}:{one}:{two}:{found['left']}:{found['right']}"


def scene_keys(text: str) -> Iterator[str]:
    yield from (key for telling, key in TELLINGS.items() if telling in text)


TELLINGS = {
    tell(language, Scene(name, place, thing, color)): ":".join(
        (language.code, name[0], place, thing.some, color[0])
    )
    for language in LANGUAGES.values()
    for name in language.names
    for place in language.places
    for thing in language.things
    for color in language.colors
}
KINDS = (
    arithmetic_keys,
    classification_keys,
    code_keys,
    drill_keys,
    story_keys,
    scene_keys,
)


def texts_of(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row.get("text") or row["prompt"] for row in rows]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_text_is_from_the_held_out_side(path: Path) -> None:
    for text in texts_of(path):
        keys = [key for kind in KINDS for key in kind(text)]
        assert keys, f"the test cannot tell what this is about: {text}"
        assert {key: split_of(key) for key in keys} == dict.fromkeys(keys, "heldout")


def test_names_of_training_text_are_read_off_as_such() -> None:
    """So that the test above would see text from the wrong side."""
    for text, key in (
        ("1 + 2 = 3\n88 + 53 = 138 + 3 = 141", "add:1:2"),
        ("Anna has 7 bags with 3 eggs each. How many eggs in all?", "mul:7:3"),
        ("Ben has 17 eggs. He gives away 3. How many eggs now?", "sub:17:3"),
        ("Text: play 3 songs.\nIntent: music", "classify:play 3 songs.\nIntent:"),
        (">>> len('AB')\n2", "code:len('AB')"),
        ("reverse A B: B A", "drill:reverse A B:"),
        ("Ida had a red cup. Ben had a blue key. They met at the park and", "story:swap:Ida:Ben"),
        ("Ida went to the park and found a red cup. Ben had a blue key.", "story:gift:Ida:Ben"),
        ("Ida had a red cup and Ben had a blue key. In the park", "story:lost:Ida:Ben"),
        ("Ida and Ben were at the park. Ida was cold and Ben was tired.", "story:need:Ida:Ben"),
        ("Anna ist im Garten. Anna hat ein Buch. Das Buch ist rot.", "de:Anna:im Garten:ein Buch"),
    ):
        keys = [key for kind in KINDS for key in kind(text)]
        assert any(found.startswith(key) for found in keys), (key, keys)


# The demo model on them


@pytest.mark.slow
def test_the_demo_model_ends_the_open_texts_by_itself(tmp_path: Path) -> None:
    for name in ("llama_cpp", "gguf", "safetensors"):
        pytest.importorskip(name)
    convert(model_directory(), tmp_path / "f16.gguf")
    model = load(tmp_path / "f16.gguf")
    texts = [f"{USER}{prompt}{ASSISTANT}" for prompt in read_prompts(PROMPTS / "open.jsonl")]
    prompts = [Prompt(ids=model.encode(text, begins=True), max_tokens=128) for text in texts]
    answers = model.answer(prompts, 8, lambda *_: None)
    model.close()
    assert [text for text, given in zip(texts, answers, strict=True) if given.end is None] == []
