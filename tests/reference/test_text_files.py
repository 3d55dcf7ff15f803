"""Where a text comes from: a file that was named, WikiText-2 on disk, or the model itself."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.reference.texts import find_text
from qgate.thresholds import TextSettings
from tests.conftest import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable

WIKITEXT = SHARED / "data" / "text" / "wikitext-2" / "wiki.test.raw"


@pytest.mark.parametrize("source", ["auto", "wikitext-2"])
@pytest.mark.parametrize("place", ["wiki.test.raw", "wikitext-2-raw/wiki.test.raw"])
def test_wikitext_is_taken_from_disk_with_articles_as_documents(
    tmp_path: Path, source: str, place: str
) -> None:
    if not WIKITEXT.is_file():
        pytest.skip("WikiText-2 is not on this machine (it lies beside the project, not in it)")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    shutil.copyfile(WIKITEXT, tmp_path / place)

    found = find_text(TextSettings(source=source), tmp_path)

    assert found.documents is not None
    assert "".join(found.documents) == WIKITEXT.read_text(encoding="utf-8")
    assert len(found.documents) == 60
    assert found.documents[1].startswith(" = Du Fu = \n")
    # formulas on lines of their own look like titles
    assert sum("= 1 henry and capacitance C =" in document for document in found.documents) == 1
    assert not any(document.startswith(" = 1 henry") for document in found.documents)
    assert found.name == "wikitext-2 (raw, test)"


def test_a_changed_wikitext_is_refused_even_if_nobody_named_it(tmp_path: Path) -> None:
    path = tmp_path / "wiki.test.raw"
    path.write_text("changed")

    for source in ("auto", "wikitext-2"):
        with pytest.raises(MeasurementError) as caught:
            find_text(TextSettings(source=source), tmp_path)
        assert str(caught.value) == (
            f"{path}: not the official WikiText-2 test split: got sha256 d67e2e944994…;"
            " expected 173c87a53759…. Name it as text.source: wiki.test.raw to use it all the same"
        )


def as_dataset(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]) -> None:
    """Put a library in the place of `datasets`."""
    library = types.ModuleType("datasets")
    library.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", library)


def test_wikitext_is_fetched_by_its_name_and_is_the_very_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not WIKITEXT.is_file():
        pytest.skip("WikiText-2 is not on this machine (it lies beside the project, not in it)")
    asked: list[Any] = []

    def load(path: str, name: str, *, split: str) -> dict[str, list[str]]:
        asked.append((path, name, split))
        lines = WIKITEXT.read_text(encoding="utf-8").split("\n")[:-1]
        return {"text": [f"{line}\n" if line.strip() else "" for line in lines]}

    as_dataset(monkeypatch, load)
    fetched = find_text(TextSettings(source="wikitext-2"), tmp_path)

    assert asked == [("Salesforce/wikitext", "wikitext-2-raw-v1", "test")]
    assert fetched == find_text(TextSettings(source="wikitext-2"), WIKITEXT.parent)


def test_another_text_under_the_name_of_wikitext_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_dataset(monkeypatch, lambda *_, **__: {"text": ["changed"]})

    with pytest.raises(MeasurementError, match="not the official WikiText-2 test split") as caught:
        find_text(TextSettings(source="wikitext-2"), tmp_path)

    assert str(caught.value).endswith("or write text.source: answers")


def test_wikitext_that_cannot_be_fetched_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: str, **__: str) -> None:
        raise ConnectionError("no route\nto the Hub")

    for library, why in (
        (None, ", and the library that could fetch it is not installed: pip install datasets."),
        (load, " and cannot be fetched: ConnectionError: no route to the Hub."),
    ):
        if library is None:
            monkeypatch.setitem(sys.modules, "datasets", None)
        else:
            as_dataset(monkeypatch, library)
        with pytest.raises(MeasurementError) as caught:
            find_text(TextSettings(source="wikitext-2"), tmp_path)
        assert str(caught.value) == (
            "text.source: WikiText-2 is not on disk (wiki.test.raw, wikitext-2-raw/wiki.test.raw,"
            f" .qgate/wiki.test.raw in {tmp_path}){why} Put wiki.test.raw there, or write"
            " text.source: answers"
        )


def test_where_no_text_is_named_the_references_answers_are_it(tmp_path: Path) -> None:
    """`auto` asks no network for anything."""
    found = find_text(TextSettings(source="auto", seed=3), tmp_path)

    assert found.documents is None
    assert found.name == "the reference's answers, seed 3"
    assert found.recipe is not None
    assert found.recipe.sampled == "temperature 0.8, top_k 40, top_p 0.95, min_p 0.05"
    assert found == find_text(TextSettings(source="answers", seed=3), tmp_path)


FILES: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("book.txt", "Anna läuft.\r\nEnde\u2028".encode(), ("Anna läuft.\r\nEnde\u2028",)),
    ("list.json", json.dumps(["one", "zwei ü", ""]).encode(), ("one", "zwei ü", "")),
    ("rows.jsonl", b'{"text": "one", "id": 1}\n\n{"text": "two"}\n', ("one", "two")),
    ("odd.jsonl", '{"text": "a\u2028b"}\r\n'.encode(), ("a\u2028b",)),
]


@pytest.mark.parametrize(("name", "raw", "documents"), FILES, ids=[name for name, *_ in FILES])
def test_a_file_is_read_by_its_ending(
    tmp_path: Path, name: str, raw: bytes, documents: tuple[str, ...]
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)

    found = find_text(TextSettings(source=path), Path())

    assert found.documents == documents
    assert found.name == name


def test_the_digest_is_of_the_documents(tmp_path: Path) -> None:
    def digest(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        return find_text(TextSettings(source=tmp_path / name), Path()).digest

    one = digest("a.json", '["one", "two"]')
    assert digest("b.json", '[ "one",\n"two"]') == one
    assert len({one, digest("c.json", '["onetwo"]'), digest("d.json", '["one", "twO"]')}) == 3
    seeds = {
        find_text(TextSettings(source="generated", seed=seed), Path()).digest for seed in (0, 1)
    }
    assert len(seeds) == 2


EXPECTED = "; expected UTF-8, JSON lines with a 'text' field, or a JSON list of strings"
BAD_FILES: list[tuple[str, bytes | None, str]] = [
    ("absent.txt", None, "cannot read the text: No such file or directory"),
    ("empty.txt", b"", "no text in it: got 0 characters without any"),
    ("empty.jsonl", b"\n\n", "no text in it: got 2 characters without any"),
    ("empty.json", b"[]", "no text in it: got 2 characters without any"),
    ("blank.json", b'["", ""]', "no text in it: got 8 characters without any"),
    (
        "object.json",
        b'{"text": "one"}',
        f"cannot read the text: documents are not strings{EXPECTED}",
    ),
    ("string.json", b'"one"', f"cannot read the text: documents are not strings{EXPECTED}"),
    ("numbers.json", b"[1, 2]", f"cannot read the text: documents are not strings{EXPECTED}"),
    ("null.jsonl", b'{"text": null}', f"cannot read the text: documents are not strings{EXPECTED}"),
    ("other.jsonl", b'{"body": "x"}', f"cannot read the text: 'text'{EXPECTED}"),
    ("cut.jsonl", b'{"text": "x', "cannot read the text: Unterminated string"),
    ("latin.txt", b"\xe4", "cannot read the text: 'utf-8' codec can't decode byte 0xe4"),
]


@pytest.mark.parametrize(("name", "raw", "why"), BAD_FILES, ids=[name for name, *_ in BAD_FILES])
def test_a_file_without_a_text_is_one_line(
    tmp_path: Path, name: str, raw: bytes | None, why: str
) -> None:
    path = tmp_path / name
    if raw is not None:
        path.write_bytes(raw)

    with pytest.raises(MeasurementError) as caught:
        find_text(TextSettings().model_copy(update={"source": path}), Path())

    assert str(caught.value).startswith(f"{path}: {why}")
    assert "\n" not in str(caught.value)


def test_a_text_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(256 * 1024 * 1024 + 1)
    unread: Callable[[Path], bytes] = lambda _: pytest.fail("it was read")  # noqa: E731
    monkeypatch.setattr(Path, "read_bytes", unread)

    with pytest.raises(MeasurementError, match=r"text too large: expected at most 256 MiB$"):
        find_text(TextSettings(source=path), Path())
