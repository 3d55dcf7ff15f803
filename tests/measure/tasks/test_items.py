"""Files of items: what is read, what is sampled, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgate.errors import ThresholdsError
from qgate.measure.tasks.items import read_items
from tests.measure.tasks.item_files import EXAMPLE, GOOD, read, row


def many(count: int, *, choices: bool = False) -> str:
    extra = {"choices": [" a", " b", " c", " d"]} if choices else {}
    return "".join(
        row(id=f"q-{number}", prompt=f"Question {number}? " * 8, **extra, answer=" a")
        for number in range(count)
    )


def test_generated_items_are_read_with_everything_that_is_left_out(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "\ufeff"
        + row(prompt="2 + 2 =", answer=" 4", level="easy", score=0.5)
        + "\n \n"
        + row(id="b", prompt="Größe\u2028?", choices=[], answer="\n42")
        + row(id=7, prompt="3 + 3 =", choices=None, answer=" 6\r\n"),
    )

    assert [item.id for item in found.items] == ["1", "b", "7"]
    assert [item.prompt for item in found.items] == ["2 + 2 =", "Größe\u2028?", "3 + 3 ="]
    assert [item.answer for item in found.items] == [" 4", "\n42", " 6\r\n"]
    assert [item.choices for item in found.items] == [(), (), ()]
    assert (found.name, found.path, found.available) == (
        "items.jsonl",
        tmp_path / "items.jsonl",
        3,
    )
    assert not found.has_choices


def test_line_ends_of_windows_and_a_last_line_without_one_are_read(tmp_path: Path) -> None:
    last = row(prompt="1 + 1 =", answer=" 2").rstrip()
    assert len(read(tmp_path, GOOD.replace("\n", "\r\n") + last).items) == 2


def test_an_answer_may_be_an_index_into_the_choices(tmp_path: Path) -> None:
    by_text, by_index = (
        read(tmp_path, row(prompt="Water is", choices=[" wet", " dry"], answer=answer))
        for answer in (" dry", 1)
    )
    assert by_text.items == by_index.items
    assert by_text.items[0].answer == " dry"
    assert by_text.digest == by_index.digest
    assert by_text.has_choices


def test_an_answer_that_looks_like_an_index_is_a_text(tmp_path: Path) -> None:
    (item,) = read(tmp_path, row(prompt="1 + 0 =", choices=["0", "1"], answer="1")).items
    assert item.answer == "1"
    (item,) = read(tmp_path, row(prompt="1 + 0 =", choices=["1", "0"], answer="1")).items
    assert item.answer == "1"


def test_the_same_prompt_may_have_other_choices(tmp_path: Path) -> None:
    rows = [row(prompt="It is", choices=[" a", other], answer=" a") for other in (" b", " c")]
    assert len(read(tmp_path, "".join(rows)).items) == 2


# Samples and digests


def test_a_sample_is_spread_over_the_file_in_its_order_and_always_the_same(tmp_path: Path) -> None:
    whole = read(tmp_path, many(1000))
    some = read(tmp_path, many(1000), max_samples=100)

    places = [whole.items.index(item) for item in some.items]
    assert places == sorted(set(places))
    assert len(places) == 100
    assert all(any(low <= at < low + 100 for at in places) for low in range(0, 1000, 100))
    assert some == read(tmp_path, many(1000), max_samples=100)
    assert (some.available, whole.available) == (1000, 1000)
    assert some.digest != whole.digest


def test_a_sample_as_large_as_the_file_is_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, many(20), max_samples=20) == read(tmp_path, many(20))
    assert read(tmp_path, many(20), max_samples=21) == read(tmp_path, many(20))


def test_a_mistake_is_found_outside_the_sample_too(tmp_path: Path) -> None:
    for at in range(4):
        lines = [row(prompt=f"{number}?", answer="x") for number in range(4)]
        lines[at] = row(prompt="?")
        with pytest.raises(ThresholdsError, match=f"^items.jsonl:{at + 1}: no answer: "):
            read(tmp_path, "".join(lines), max_samples=1)


@pytest.mark.parametrize("most", [0, -1])
def test_a_sample_of_nothing_is_refused(tmp_path: Path, most: int) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read(tmp_path, GOOD, max_samples=most)
    assert str(caught.value) == f"items.jsonl: max_samples: got {most}; expected at least 1."


def test_the_digest_is_of_what_is_asked_and_of_nothing_else(tmp_path: Path) -> None:
    base = {"id": "a", "prompt": "It is", "choices": [" a", " b"], "answer": " a"}
    digest = read(tmp_path, row(**base)).digest
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64
    assert read(tmp_path, "\n" + row(**base, note="other keys")).digest == digest
    changes = [{"id": "b"}, {"prompt": "It was"}, {"choices": [" a", " c"]}, {"answer": " b"}]
    others = {read(tmp_path, row(**(base | change))).digest for change in changes}
    assert len({digest, *others}) == 5


def test_where_a_text_ends_changes_the_digest(tmp_path: Path) -> None:
    one = read(tmp_path, row(id="a", prompt="ab", answer="c"))
    other = read(tmp_path, row(id="a", prompt="a", answer="bc"))
    assert one.digest != other.digest


# No such file


def test_a_file_that_is_not_there_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path / "absent.jsonl", "tasks/absent.jsonl")
    assert str(caught.value) == f"tasks/absent.jsonl: no such file; {EXAMPLE}"


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path, "tasks")
    assert str(caught.value) == f"tasks: is not a file; {EXAMPLE}"


def test_a_file_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "items.jsonl").write_text(GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path / "items.jsonl", "items.jsonl")
    assert str(caught.value) == f"items.jsonl: cannot be read: Permission denied; {EXAMPLE}"


def test_a_file_of_absurd_size_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "items.jsonl").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path / "items.jsonl", "items.jsonl")
    assert str(caught.value) == (
        "items.jsonl: too large: got more than 67108864 bytes; expected at most that."
        " Name a part of it."
    )
