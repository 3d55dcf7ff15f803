"""The files that the gate ships: fresh, small and well-formed.

They are from the held-out side of the corpus, of which tests/demo/test_corpus.py is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from qgate.demo.__main__ import model_directory
from qgate.demo.corpus.chat import ASSISTANT, USER
from qgate.demo.corpus.vocabulary import LANGUAGES
from qgate.demo.formats.gguf_convert import convert
from qgate.demo.training import items as command
from qgate.measure.tasks.items import read_items
from qgate.reference.prompts import read_conversations, read_languages, read_prompts, read_texts
from qgate.runtimes.base import Prompt
from tests.support.demo_model import load

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
