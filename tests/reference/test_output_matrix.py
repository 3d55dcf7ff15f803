"""The reference's output matrix is found where it lies, and only where it can be read in place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import qgate
from qgate.artifacts import discover
from qgate.reference.output_matrix import find_output_matrix
from qgate.runtimes.base import ModelFacts
from tests.support.safetensors_files import write_model

if TYPE_CHECKING:
    from qgate.runtimes.worker.reference_logits import MatrixPlace

DEMO = Path(qgate.__file__).parent / "demo" / "model"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def found_in(directory: Path, n_vocab: int = 32, width: int = 8) -> MatrixPlace | None:
    facts = ModelFacts(
        n_vocab=n_vocab,
        width=width,
        n_params=0,
        context_length=0,
        bos=None,
        adds_bos=False,
        first_token=0,
        end_tokens=(),
        weights_bytes=0,
        load_s=0.0,
    )
    (artifact,) = discover([directory])
    return find_output_matrix(artifact, facts)


def test_a_tied_embedding_is_the_output_matrix_of_a_real_model() -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="compared with safetensors.numpy")
    place = found_in(DEMO, 1792, 256)
    assert place is not None
    assert (place.type_name, place.n_vocab, place.width) == ("F16", 1792, 256)
    known = numpy.load_file(DEMO / "model.safetensors")[EMBEDDING].tobytes()
    content = Path(place.path).read_bytes()
    assert content[place.offset : place.offset + len(known)] == known


@pytest.mark.parametrize(
    ("tensors", "config", "name"),
    [
        ((EMBEDDING, HEAD), {}, HEAD),
        ((EMBEDDING, HEAD), {"tie_word_embeddings": False}, HEAD),
        ((EMBEDDING, HEAD), {"tie_word_embeddings": True}, EMBEDDING),
        ((EMBEDDING,), {}, EMBEDDING),
        ((EMBEDDING,), {"text_config": {"tie_word_embeddings": True}}, EMBEDDING),
        ((EMBEDDING,), {"tie_word_embeddings": False}, None),
        (("transformer.wte.weight",), {}, "transformer.wte.weight"),
        ((), {}, None),
    ],
    ids=["head", "untied", "tied", "no head", "nested", "lost", "gpt2", "nothing"],
)
def test_which_matrix_it_is_follows_the_configuration(
    tensors: tuple[str, ...], config: dict[str, Any], name: str | None, tmp_path: Path
) -> None:
    stored = dict.fromkeys(("first", *tensors), ("BF16", (32, 8)))
    place = found_in(write_model(tmp_path / "m", stored, **config))
    if name is None:
        assert place is None
    else:
        assert place is not None
        header = 8 + int.from_bytes(Path(place.path).read_bytes()[:8], "little")
        assert place.offset == header + 512 * list(stored).index(name)


def test_a_matrix_of_another_size_or_type_is_not_read_in_place(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "m", {HEAD: ("F32", (32, 8))})
    assert found_in(directory) is not None
    assert found_in(directory, n_vocab=33) is None
    assert found_in(directory, width=4) is None
    assert found_in(write_model(tmp_path / "n", {HEAD: ("I8", (32, 8))})) is None
