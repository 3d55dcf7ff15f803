"""The same tokenizer in a GGUF file and in a Hugging Face directory, compared in common terms."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.artifacts.gguf.header import read_header
from qgate.artifacts.tokenizer.comparison import PARTS, difference, tokenizer_facts, tokenizer_of
from qgate.artifacts.tokenizer.hf_json import read_tokenizer_json
from qgate.artifacts.tokenizer.scores import piece_scores
from qgate.errors import ArtifactError, RuntimeFailed
from qgate.measure.integrity.rows import find
from tests.artifacts.hf_directories import DEMO, change, copy, facts
from tests.support.stories260k import STORIES, needs_stories

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.artifacts.tokenizer.comparison import Part, TokenizerFacts


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf", reason="the demo model is converted with the gguf package")
    pytest.importorskip("safetensors", reason="the demo model is converted with safetensors")
    from qgate.demo.formats.gguf_convert import convert

    path = tmp_path_factory.mktemp("converted") / "demo-F16.gguf"
    convert(DEMO, path)
    return path


def gguf_facts(path: Path, **changes: Any) -> TokenizerFacts:
    """Of a file whose keys `tokenizer.ggml.*` are changed; None leaves one out."""
    header = read_header(path)
    metadata = dict(header.metadata)
    for name, value in changes.items():
        metadata[f"tokenizer.ggml.{name}"] = value
    kept = {key: value for key, value in metadata.items() if value is not None}
    return tokenizer_facts(type(header)(**{**_fields(header), "metadata": kept}))


def _fields(header: Any) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.__slots__}


def test_a_converted_model_has_its_reference_s_tokenizer(converted: Path) -> None:
    (reference,), (artifact,) = discover([DEMO]), discover([converted])
    ours, theirs = tokenizer_of(artifact), tokenizer_of(reference)
    for part in PARTS:
        assert difference(ours, theirs, part) is None
        assert difference(theirs, ours, part) is None


@needs_stories
def test_a_converted_sentencepiece_model_has_its_reference_s_tokenizer() -> None:
    (reference,) = discover([STORIES / "hf"])
    (artifact,) = discover([STORIES / "stories260K-q4_0.gguf"])
    ours, theirs = tokenizer_of(artifact), tokenizer_of(reference)
    assert [difference(ours, theirs, part) for part in PARTS] == [None, None, None]
    scores = tuple(float(number) for number in range(512))
    changed = gguf_facts(artifact.path, scores=scores)
    assert difference(changed, theirs, "tokenizer") == "scores of tokens differ"
    without = gguf_facts(artifact.path, scores=None)
    with pytest.raises(ArtifactError, match="order of merges is a list in one and scores in"):
        difference(without, theirs, "tokenizer")


def swapped(content: dict[str, Any]) -> None:
    vocab = content["model"]["vocab"]
    vocab["A"], vocab["B"] = vocab["B"], vocab["A"]


@pytest.mark.parametrize(
    ("part", "name", "edit", "phrase"),
    [
        ("tokenizer", "tokenizer.json", swapped, "tokens by id differ (1792 and 1792 of them)"),
        ("tokenizer", "tokenizer.json", lambda c: c["model"]["merges"].pop(), "merges differ"),
        (
            "special_tokens",
            "tokenizer_config.json",
            lambda c: c.update(eos_token="<|im_end|>"),
            "eos token: 4, the reference has 1",
        ),
        (
            "special_tokens",
            "generation_config.json",
            lambda c: c.update(eos_token_id=[1, 7]),
            "tokens that end: [1, 7], the reference has [1, 4]",
        ),
        (
            "chat_template",
            "tokenizer_config.json",
            lambda c: c.update(chat_template=[{"name": "tool_use", "template": "x"}]),
            None,  # the file wins
        ),
    ],
    ids=["tokens", "merges", "eos", "ends", "template"],
)
def test_a_difference_across_formats_is_named_in_its_part(
    part: Part,
    name: str,
    edit: Callable[[dict[str, Any]], Any],
    phrase: str | None,
    tmp_path: Path,
    converted: Path,
) -> None:
    directory = copy(tmp_path / "m")
    change(directory, name, edit)
    assert difference(facts(directory), gguf_facts(converted), part) == phrase


def test_another_chat_template_is_a_difference_across_formats(
    tmp_path: Path, converted: Path
) -> None:
    directory = copy(tmp_path / "m")
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    ours, theirs = facts(directory), gguf_facts(converted)
    assert difference(ours, theirs, "chat_template") == "chat template 'default': differ"
    (directory / "chat_template.jinja").unlink()
    assert difference(facts(directory), theirs, "chat_template") == (
        "chat template 'default': only in the reference"
    )


def test_what_the_files_do_not_tell_is_an_error_and_no_pass(
    tmp_path: Path, converted: Path
) -> None:
    with pytest.raises(ArtifactError, match="one of the two has no list of tokens"):
        difference(gguf_facts(converted, tokens=None), facts(DEMO), "tokenizer")
    directory = copy(tmp_path / "m")
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer.model").write_bytes(b"pieces")
    with pytest.raises(ArtifactError, match=r"got it in tokenizer\.model and gguf"):
        difference(facts(directory), gguf_facts(converted), "tokenizer")


def test_the_row_across_formats_asks_for_ids_where_the_files_agree(converted: Path) -> None:
    (reference,), (artifact,) = discover([DEMO]), discover([converted])

    def row(differing: str) -> tuple[bool, str]:
        found = find("integrity.tokenizer", artifact, lambda: reference, lambda: differing)
        return found.holds, found.text

    def fail() -> str:
        raise RuntimeFailed("runtime crashed")

    assert row("") == (True, "the reference's (5 keys); the same texts get the same ids")
    assert row("'a': got [1]") == (
        False,
        "not the reference's: 'a': got [1]. Convert it again from the reference.",
    )
    with pytest.raises(RuntimeFailed):
        find("integrity.tokenizer", artifact, lambda: reference, fail)


def test_rows_beyond_the_vocabulary_are_padding(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="a GGUF file is written with the gguf package")
    directory = copy(tmp_path / "m")
    change(directory, "config.json", lambda c: c.update(vocab_size=1800))
    content = read_tokenizer_json(directory / "tokenizer.json", {})
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    padding = [f"[PAD{number}]" for number in range(1792, 1800)]
    writer.add_token_list([*content.tokens.values(), *padding])
    writer.add_token_merges(list(content.merges))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert difference(gguf_facts(tmp_path / "m.gguf"), facts(directory), "tokenizer") is None


def test_the_scores_of_a_sentencepiece_model_are_read() -> None:
    def piece(text: bytes, score: float) -> bytes:
        inner = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
        return b"\x0a" + bytes([len(inner)]) + inner + b"\x12\x02\x08\x01"

    model = piece(b"<unk>", 0.0) + piece("▁the".encode(), -1.5) + piece(b"a", -2.0)
    assert piece_scores(model) == [0.0, -1.5, -2.0]
    assert piece_scores(b"") is None
    assert piece_scores(b"\x0a\xff\xff\xff") is None
    for cut in range(len(model)):
        found = piece_scores(model[:cut])
        assert found is None or found == [0.0, -1.5, -2.0][: len(found)]
