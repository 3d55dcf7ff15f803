"""A header says of a file what the safetensors library says, and a set of shards is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import qgate
from qgate.artifacts.hf.safetensors import DTYPE_BITS, read_header
from qgate.artifacts.hf.weights import read_weights
from qgate.errors import ArtifactError
from tests.support.safetensors_files import n_bytes, raw, write

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = Path(qgate.__file__).parent / "demo" / "model" / "model.safetensors"
MATRIX = ("F16", (4, 2))


def test_a_real_file_is_read_as_the_library_reads_it() -> None:
    safetensors = pytest.importorskip("safetensors", reason="compared with the safetensors package")
    numpy = pytest.importorskip("safetensors.numpy", reason="compared with safetensors.numpy")
    header = read_header(MODEL)
    with safetensors.safe_open(MODEL, "numpy") as file:
        assert {tensor.name for tensor in header.tensors} == set(file.keys())
        for tensor in header.tensors:
            known = file.get_slice(tensor.name)
            assert (tensor.dtype, list(tensor.shape)) == (known.get_dtype(), known.get_shape())
    content = MODEL.read_bytes()
    for name, array in numpy.load_file(MODEL).items():
        tensor = next(tensor for tensor in header.tensors if tensor.name == name)
        assert content[tensor.offset : tensor.offset + tensor.n_bytes] == array.tobytes()


def test_every_type_of_the_format_is_read(tmp_path: Path) -> None:
    tensors = {f"t.{dtype}": (dtype, (2, 4)) for dtype in DTYPE_BITS}
    header = read_header(write(tmp_path / "m.safetensors", tensors, metadata={"format": "pt"}))
    assert {t.name: (t.dtype, t.shape) for t in header.tensors} == tensors
    assert all(t.n_bytes == n_bytes(t.dtype, t.shape) for t in header.tensors)


def test_scalars_and_empty_tensors_and_no_tensors_are_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", {"s": ("U8", ()), "e": ("F32", (0, 4))})
    scalar, empty = sorted(read_header(path).tensors, key=lambda tensor: -tensor.n_bytes)
    assert (scalar.n_elements, scalar.n_bytes, scalar.is_matrix) == (1, 1, False)
    assert (empty.n_elements, empty.n_bytes, empty.is_matrix) == (0, 0, True)
    path.write_bytes(raw(b"{}      "))
    assert read_header(path).tensors == ()


def sharded(directory: Path) -> dict[str, str]:
    """Two shards and their index; returns the index's weight_map."""
    weight_map = {}
    for number in (1, 2):
        name = f"model-0000{number}-of-00002.safetensors"
        write(directory / name, {f"layer.{number}.weight": MATRIX, f"layer.{number}.bias": MATRIX})
        weight_map.update({f"layer.{number}.{part}": name for part in ("weight", "bias")})
    index(directory, weight_map)
    return weight_map


def index(directory: Path, weight_map: Any) -> None:
    path = directory / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 64}, "weight_map": weight_map}))


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    sharded(tmp_path)
    write(tmp_path / "consolidated.safetensors", {"other": MATRIX})
    headers = read_weights(tmp_path)
    assert [header.path.name for header in headers] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    write(tmp_path / "model.safetensors", {"whole": MATRIX})
    assert [tensor.name for header in read_weights(tmp_path) for tensor in header.tensors] == [
        "whole"
    ]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda path, _: (path / "model-00002-of-00002.safetensors").unlink(),
            "model-00002-of-00002.safetensors, which the index names, is missing. "
            "Download it again.",
        ),
        (
            lambda path, known: index(path, {**known, "layer.3.weight": known["layer.1.weight"]}),
            "tensor 'layer.3.weight': got it in no shard; "
            "expected model-00001-of-00002.safetensors. Download it again.",
        ),
        (
            lambda path, known: index(path, {**known, "layer.1.weight": known["layer.2.weight"]}),
            "tensor 'layer.1.weight': got it in model-00001-of-00002.safetensors; "
            "expected model-00002-of-00002.safetensors. Download it again.",
        ),
        (lambda path, _: index(path, {}), "weight_map: expected names of tensors and their files."),
        (lambda path, _: index(path, []), "weight_map: expected names of tensors and their files."),
        *(
            (
                lambda path, known, name=name: index(path, {**known, "x": name}),
                f"file of 'x': got {shown}; expected the name of a .safetensors file beside it.",
            )
            for name, shown in (
                ("../other.safetensors", "'../other.safetensors'"),
                ("/etc/passwd", "'/etc/passwd'"),
                ("a\\b.safetensors", "'a\\b.safetensors'"),
                (".hidden.safetensors", "'.hidden.safetensors'"),
                ("weights.bin", "'weights.bin'"),
                ("a\nb.safetensors", "'a\\nb.safetensors'"),
                (7, "no text"),
            )
        ),
    ],
    ids=[
        *("missing", "not there", "elsewhere", "empty", "no object"),
        *("above", "absolute", "backslash", "hidden", "pickle", "line", "number"),
    ],
)
def test_a_set_that_is_not_whole_is_refused(
    damage: Callable[..., None], reason: str, tmp_path: Path
) -> None:
    damage(tmp_path, sharded(tmp_path))
    with pytest.raises(ArtifactError) as refused:
        read_weights(tmp_path)
    where = f"{tmp_path}/model.safetensors.index.json: "
    assert str(refused.value) == where + reason


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path)
    shard = tmp_path / "model-00002-of-00002.safetensors"
    names = ("layer.2.weight", "layer.2.bias", "layer.1.bias")
    write(shard, dict.fromkeys(names, MATRIX))
    with pytest.raises(ArtifactError) as refused:
        read_weights(tmp_path)
    assert str(refused.value) == (
        f"{shard}: tensor 'layer.1.bias' is in model-00001-of-00002.safetensors too."
    )


def test_shards_without_an_index_are_refused(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(ArtifactError) as refused:
        read_weights(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path}: weights: got model-00001-of-00002.safetensors, "
        "model-00002-of-00002.safetensors; expected model.safetensors, or shards and "
        "model.safetensors.index.json."
    )
