"""What an artifact is made of: a whole set of shards, a directory, its scheme, its digest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import digest, discover
from tests.artifacts.model_files import BF16, F16, Q8_0, gguf, hf, ids, shard

if TYPE_CHECKING:
    from pathlib import Path


def test_shards_are_one_artifact_whichever_is_named(tmp_path: Path) -> None:
    shards = [shard(tmp_path / "big", number, 3) for number in (1, 2, 3)]
    for paths in ([tmp_path], [shards[0]], [shards[2]], [shards[1], tmp_path]):
        (found,) = discover(paths)
        assert (found.id, found.path, found.files) == ("big", shards[0], tuple(shards))
        assert found.problem is None
        assert found.size_bytes == sum(path.stat().st_size for path in shards)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            lambda shards: shards[1].unlink(),
            "{0}: big-00002-of-00003.gguf is missing from the set of shards. Download it again.",
        ),
        (
            lambda shards: shards[0].unlink(),
            "{1}: big-00001-of-00003.gguf is missing from the set of shards. Download it again.",
        ),
        (
            lambda shards: shards[1].write_bytes(shards[2].read_bytes()),
            "{1}: split.no: got 2; expected 1 from its place in the set of shards. "
            "Download the set again.",
        ),
        (
            lambda shards: gguf(shards[1]),
            "{1}: split.count: got None; expected 3 from its place in the set of shards. "
            "Download the set again.",
        ),
        (
            lambda shards: shard(shards[1].with_name("big"), 2, 3, general_architecture="qwen2"),
            "{1}: general.architecture: got 'qwen2'; expected llama from its place in the set "
            "of shards. Download the set again.",
        ),
        (
            lambda shards: shard(shards[1].with_name("big"), 2, 3, **{"split_tensors.count": 9}),
            "{1}: split.tensors.count: got 9; expected 3 from its place in the set of shards. "
            "Download the set again.",
        ),
        (
            lambda shards: shards[1].write_bytes(shards[1].read_bytes()[:-100]),
            "{1}: tensor 'blk.2.ffn_up.weight' ends at byte 392; the file has 316 bytes. "
            "Download it again.",
        ),
    ],
    ids=["middle", "first", "order", "stranger", "mixed", "count", "truncated"],
)
def test_a_set_of_shards_that_is_not_whole_is_a_problem(
    damage: Any, problem: str, tmp_path: Path
) -> None:
    shards = [shard(tmp_path / "big", number, 3) for number in (1, 2, 3)]
    damage(shards)
    (found,) = discover([tmp_path])
    assert found.problem == problem.format(*shards)


def test_a_single_shard_renamed_is_still_a_part_of_a_set(tmp_path: Path) -> None:
    path = shard(tmp_path / "big", 1, 3).rename(tmp_path / "whole.gguf")
    (found,) = discover([path])
    assert found.problem is not None
    assert "split.count: got 3; expected 1" in found.problem


def test_the_scheme_is_the_files_own_word_and_quantized_is_what_its_tensors_are(
    tmp_path: Path,
) -> None:
    gguf(tmp_path / "a.gguf", file_type=15, tensor_type=Q8_0)
    gguf(tmp_path / "b.gguf", file_type=None, tensor_type=BF16)
    gguf(tmp_path / "c.gguf", file_type=999, tensor_type=F16)
    gguf(tmp_path / "d.gguf", file_type=15, tensor_type=F16)
    assert [(a.scheme, a.is_quantized) for a in discover([tmp_path])] == [
        ("Q4_K_M", True),
        ("BF16", False),
        ("F16", False),
        ("Q4_K_M", False),
    ]


@pytest.mark.parametrize(
    ("config", "weights", "scheme", "is_quantized", "problem"),
    [
        ({"torch_dtype": "bfloat16"}, "model.safetensors", "bfloat16", False, None),
        (
            {"quantization_config": {"quant_method": "awq"}, "dtype": "float16"},
            "model.safetensors",
            "awq",
            True,
            None,
        ),
        ({"quantization_config": {}}, "model.safetensors", "unknown", True, None),
        ({}, "model.safetensors", "unknown", True, None),
        (
            {"dtype": "float16"},
            "pytorch_model.bin",
            "float16",
            False,
            "{}: weights only as pickles, which run code when loaded: got pytorch_model.bin; "
            "expected *.safetensors.",
        ),
        (
            {"dtype": "float16"},
            "",
            "float16",
            False,
            "{}: config.json without weights: expected *.safetensors beside it.",
        ),
        (
            {"auto_map": {"AutoModel": "m.M"}, "dtype": "float16"},
            "model.safetensors",
            "float16",
            False,
            "{}: config.json asks for remote code (auto_map). Refused; pass "
            "--qgate-trust-remote-code to allow it.",
        ),
    ],
)
def test_hugging_face_directories_are_recognised(
    config: dict[str, Any],
    weights: str,
    scheme: str,
    is_quantized: bool,
    problem: str | None,
    tmp_path: Path,
) -> None:
    directory = hf(tmp_path / "llama", weights, **config)
    (found,) = discover([tmp_path])
    assert (found.id, found.format, found.path) == ("llama", "hf", directory)
    assert (found.scheme, found.is_quantized) == (scheme, is_quantized)
    assert found.problem == (problem and problem.format(directory))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("[1]", "got list; expected an object."),
        ("[" * 100_000, "not JSON: got too many levels; expected a short object."),
        (" " * 10_000_001, "expected <= 10000000 bytes."),
    ],
)
def test_a_hostile_config_is_a_problem(config: str, reason: str, tmp_path: Path) -> None:
    (hf(tmp_path / "llama") / "config.json").write_text(config)
    (found,) = discover([tmp_path / "llama"])
    assert found.problem is not None
    assert found.problem.startswith(f"{tmp_path}/llama/config.json: {reason}")
    assert found.is_quantized


@pytest.mark.parametrize("key", ["transformers_weights", "speculators_config"])
def test_a_config_that_leads_to_other_weights_is_a_problem(key: str, tmp_path: Path) -> None:
    directory = hf(tmp_path / "llama", dtype="float16", **{key: "../reference/model.safetensors"})
    (found,) = discover([tmp_path])
    expected = f"{directory}: config.json names other weights ({key}). Refused; remove the key."
    assert found.problem == expected


def test_an_adapter_beside_the_weights_is_a_problem(tmp_path: Path) -> None:
    directory = hf(tmp_path / "llama", dtype="float16")
    (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "../reference"}')
    (found,) = discover([tmp_path])
    assert found.problem == (
        f"{directory}: got an adapter (adapter_config.json); expected whole weights. Merge it into"
        " them."
    )


def test_gguf_files_beside_a_config_without_weights_are_the_artifacts(tmp_path: Path) -> None:
    hf(tmp_path / "repo", weights="", dtype="bfloat16")
    gguf(tmp_path / "repo" / "model-Q8_0.gguf")
    assert ids(discover([tmp_path])) == ["model-Q8_0"]


def test_a_digest_of_one_file_is_what_sha256sum_prints(tmp_path: Path) -> None:
    path = gguf(tmp_path / "a.gguf")
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    (artifact,) = discover([path])
    assert digest(artifact) == f"sha256:{expected}"
    (renamed,) = discover([path.rename(tmp_path / "b.gguf")])
    assert digest(renamed) == f"sha256:{expected}"


def test_a_digest_of_several_files_changes_with_any_name_or_byte(tmp_path: Path) -> None:
    directory = hf(tmp_path / "llama", dtype="float32")
    seen = [digest(discover([directory])[0])]
    assert digest(discover([directory])[0]) == seen[0]
    (directory / "tokenizer.json").write_text("{}")
    seen.append(digest(discover([directory])[0]))
    (directory / "tokenizer.json").rename(directory / "vocab.json")
    seen.append(digest(discover([directory])[0]))
    (directory / "model.safetensors").write_bytes(b"12345679")
    seen.append(digest(discover([directory])[0]))
    moved = directory.rename(tmp_path / "moved")
    assert digest(discover([moved])[0]) == seen[-1]
    assert len(set(seen)) == 4
