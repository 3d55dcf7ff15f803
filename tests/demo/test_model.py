"""The model that comes with the package: files, tokenizer, conversion, damage, skills."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from qgate.demo.corpus.items import TASKS, make_items
from qgate.demo.corpus.languages import LANGUAGES
from qgate.demo.corpus.mixture import documents
from qgate.demo.formats.gguf_convert import convert
from qgate.demo.formats.gguf_damage import DamageError, damage_layer
from qgate.demo.formats.gguf_quantize import SCHEMES, QuantizeError, quantize
from tests.support.demo_model import answer, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qgate.runtimes.llama_cpp.adapter import LlamaCpp

EVERY_SCRIPT = (
    "Zoë über señor",
    "Ёж и чай",
    "Άννα;",
    "مفتاح ٣",
    "你好。",
    "नदी के पास १२",
    "🏳️‍🌈 x\n\n y",
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("gguf", "safetensors"):
        pytest.importorskip(name)
    target = tmp_path_factory.mktemp("demo") / "qgate-demo-F16.gguf"
    convert(model_directory(), target)
    return target


@pytest.fixture(scope="module")
def eight_bit(reference: Path) -> Path:
    pytest.importorskip("llama_cpp")
    target = reference.with_name("qgate-demo-Q8_0.gguf")
    quantize(reference, target, "Q8_0")
    return target


@pytest.fixture(scope="module")
def loaded(eight_bit: Path) -> Iterator[LlamaCpp]:
    model = load(eight_bit)
    yield model
    model.close()


def read(name: str) -> dict[str, object]:
    content = json.loads((model_directory() / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def tensors(path: Path) -> dict[str, bytes]:
    from gguf import GGUFReader

    return {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(path).tensors}


def test_every_width_suits_k_quants_and_the_file_is_small() -> None:
    config = read("config.json")
    assert config["hidden_size"] == 256
    assert config["intermediate_size"] % 256 == 0
    assert config["max_position_embeddings"] == 512
    assert (model_directory() / "model.safetensors").stat().st_size < 10_500_000


def test_generation_stops_at_the_tokenizers_end_of_text() -> None:
    vocabulary = {token["content"]: token["id"] for token in read("tokenizer.json")["added_tokens"]}
    ends = read("generation_config.json")["eos_token_id"]
    assert ends == [vocabulary["<|end_of_text|>"], vocabulary["<|im_end|>"]]
    assert read("config.json")["eos_token_id"] == vocabulary["<|end_of_text|>"]
    assert read("tokenizer_config.json")["add_bos_token"] is True


def test_no_token_has_two_digits_or_a_space_before_one() -> None:
    vocabulary = read("tokenizer.json")["model"]["vocab"]
    assert len(vocabulary) == read("config.json")["vocab_size"]
    assert not [token for token in vocabulary if re.search(r"\d", token) and len(token) > 1]


def test_prompt_and_answer_encode_as_their_concatenation() -> None:
    tokenizer = pytest.importorskip("tokenizers").Tokenizer.from_file(
        str(model_directory() / "tokenizer.json")
    )

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    for task in TASKS:
        for item in make_items(task, 10, lambda text: len(encode(text))):
            for text in item.choices or (item.answer,):
                assert encode(item.prompt) + encode(text) == encode(item.prompt + text)
            assert len(encode(item.prompt + item.answer)) < 511


def test_llama_cpp_gives_the_ids_of_the_hugging_face_tokenizer(loaded: LlamaCpp) -> None:
    tokenizer = pytest.importorskip("tokenizers").Tokenizer.from_file(
        str(model_directory() / "tokenizer.json")
    )
    stream = documents(7, "heldout", len)
    texts = [*EVERY_SCRIPT, *(document.text for document in islice(stream, 200))]
    texts += [make_items(f"language_{code}", 1, len)[0].prompt for code in LANGUAGES]
    for text in texts:
        assert loaded.encode(text, begins=True).tolist() == tokenizer.encode(text).ids


def test_the_model_answers_easy_questions_and_stops(loaded: LlamaCpp) -> None:
    noted = "Note: the fox has 27.\nNote: the bear has 61.\nRecall: the fox has"
    assert answer(loaded, noted) == "27"
    assert answer(loaded, "37 + 48 =") == "77 + 8 = 85"
    assert answer(loaded, ">>> [4, 1] + [7]") == "[4, 1, 7]"
    fed = "Text: the cook tasted of salt today and the soup was served.\nTopic:"
    assert answer(loaded, fed) == "food"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_really_changes_the_weights(
    reference: Path, scheme: str, tmp_path: Path
) -> None:
    pytest.importorskip("llama_cpp")
    target = tmp_path / "x.gguf"
    quantize(reference, target, scheme)
    from gguf import GGUFReader

    kinds = {tensor.tensor_type.name for tensor in GGUFReader(target).tensors}
    assert "F16" not in kinds
    assert any(kind.startswith(scheme[:2]) for kind in kinds)
    assert target.stat().st_size < 0.6 * reference.stat().st_size


def test_quantizing_reports_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF but no more")
    with pytest.raises(QuantizeError, match=r"bad\.gguf: llama\.cpp cannot quantize to Q8_0: \w"):
        quantize(bad, tmp_path / "out.gguf", "Q8_0")
    with pytest.raises(QuantizeError, match="unknown scheme: got Q9_X; expected Q8_0"):
        quantize(bad, tmp_path / "out.gguf", "Q9_X")


@pytest.mark.parametrize("layer", [0, 3])
def test_damage_changes_exactly_one_tensor(eight_bit: Path, layer: int, tmp_path: Path) -> None:
    target = tmp_path / "damaged.gguf"
    damaged = damage_layer(eight_bit, target, layer)
    before, after = tensors(eight_bit), tensors(target)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [damaged]
    assert target.stat().st_size == eight_bit.stat().st_size


def test_there_is_no_layer_to_damage_beyond_the_last(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(DamageError, match="no such layer: got 99; expected 0 to 3"):
        damage_layer(reference, tmp_path / "x.gguf", 99)
    assert not (tmp_path / "x.gguf").exists()
