"""Discovery: what is an artifact, what is it called, and what is never opened."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import beside, choose_reference, digest, discover
from qgate.errors import UsageError

if TYPE_CHECKING:
    from qgate.records import Artifact

STORIES = Path(__file__).parents[2].parent / "shared" / "models" / "stories260K"
needs_stories = pytest.mark.skipif(
    not STORIES.is_dir(), reason="no shared/models/stories260K beside the repository"
)
F32, F16, Q8_0, BF16 = 0, 1, 8, 30
SIZES = {F32: (1, 4), F16: (1, 2), Q8_0: (32, 34), BF16: (1, 2)}


def text(content: str) -> bytes:
    return struct.pack("<Q", len(content.encode())) + content.encode()


def gguf(
    path: Path,
    *,
    file_type: int | None = 7,
    tensor_type: int = Q8_0,
    tensors: tuple[str, ...] = ("blk.0.ffn_up.weight",),
    **metadata: str | int,
) -> Path:
    """Write a file with matrices of 32 x 4 and metadata; `general_type` is `general.type`."""
    values = {"general_architecture": "llama", "general_file_type": file_type, **metadata}
    rows = []
    for name, value in values.items():
        key = text(name.replace("_", ".", 1))
        if isinstance(value, str):
            rows.append(key + struct.pack("<I", 8) + text(value))
        elif value is not None:
            rows.append(key + struct.pack("<II", 4, value))
    elements, size = SIZES[tensor_type]
    n_bytes = 32 * 4 // elements * size
    padded = -(-n_bytes // 32) * 32
    infos = [
        text(name) + struct.pack("<IQQIQ", 2, 32, 4, tensor_type, index * padded)
        for index, name in enumerate(tensors)
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(rows)) + b"".join(rows + infos)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(padded * len(tensors)))
    return path


def shard(path: Path, number: int, count: int, **changes: int) -> Path:
    split = {"split_no": number - 1, "split_count": count, "split_tensors.count": count}
    name = path.with_name(f"{path.name}-{number:05}-of-{count:05}.gguf")
    return gguf(name, tensors=(f"blk.{number}.ffn_up.weight",), **{**split, **changes})


def hf(directory: Path, weights: str = "model.safetensors", **config: Any) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    if weights:
        (directory / weights).write_bytes(b"12345678")
    return directory


def ids(artifacts: tuple[Artifact, ...]) -> list[str]:
    return [artifact.id for artifact in artifacts]


@needs_stories
def test_real_models_are_found_with_scheme_size_and_context_length() -> None:
    rows = [
        (a.id, a.format, a.scheme, a.is_quantized, a.context_length, a.problem)
        for a in discover([STORIES])
    ]
    assert rows == [
        ("hf", "hf", "float32", False, 512, None),
        ("stories260K-f16", "gguf", "F16", False, 512, None),
        ("stories260K-f32", "gguf", "F32", False, 512, None),
        ("stories260K-q4_0", "gguf", "Q4_0", True, 512, None),
        ("stories260K-q5_0", "gguf", "Q5_0", True, 512, None),
        ("stories260K-q8_0", "gguf", "Q8_0", True, 512, None),
    ]
    q4 = next(a for a in discover([STORIES]) if a.scheme == "Q4_0")
    assert (q4.path, q4.size_bytes) == (STORIES / "stories260K-q4_0.gguf", 260_640)


def test_a_broken_file_is_an_artifact_with_a_problem_and_the_others_go_on(tmp_path: Path) -> None:
    gguf(tmp_path / "good.gguf")
    (tmp_path / "zero.gguf").touch()
    good, zero = discover([tmp_path])
    assert good.problem is None
    assert (zero.id, zero.scheme, zero.is_quantized) == ("zero", "unknown", True)
    assert zero.problem == f"{tmp_path}/zero.gguf: the file is empty. Download it again."


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "--qgate: {} does not exist."),
        ("notes.txt", "--qgate: {} is neither a .gguf file nor a directory."),
        ("fifo.gguf", "--qgate: {} is neither a .gguf file nor a directory."),
        (
            "empty",
            "--qgate: {} contains no artifact (looked for config.json and *.gguf, 0 files).",
        ),
        (
            "others",
            "--qgate: {} contains no artifact (looked for config.json and *.gguf, 3 files). "
            "Left out: a-vocab.gguf holds a vocabulary and no tensors, mmproj-a.gguf is a sidecar.",
        ),
        (
            "lora.gguf",
            "--qgate: {} contains no artifact (looked for config.json and *.gguf, 1 file). "
            "Left out: lora.gguf is of type adapter.",
        ),
        ("x" * 300, "--qgate: {} cannot be read: File name too long."),
        ("nul\0", "--qgate: {} cannot be read: embedded null byte."),
        ("crowd", "--qgate: {} has more than 10000 entries. Name the artifact itself."),
    ],
)
def test_a_path_without_artifacts_is_a_usage_error(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "fifo.gguf")
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "README.md").touch()
    gguf(tmp_path / "others" / "a-vocab.gguf", tensors=())
    (tmp_path / "others" / "mmproj-a.gguf").touch()
    gguf(tmp_path / "lora.gguf", general_type="adapter")
    if name == "crowd":
        (tmp_path / "crowd").mkdir()
        for number in range(10_001):
            os.link(tmp_path / "notes.txt", tmp_path / "crowd" / str(number))
    path = tmp_path / name
    with pytest.raises(UsageError) as refused:
        discover([path])
    assert str(refused.value) == message.format(str(path).replace("\0", "\\x00"))


def test_no_path_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--qgate: no path given"):
        discover([])


def test_sidecars_vocabularies_and_hidden_files_are_no_artifacts(tmp_path: Path) -> None:
    gguf(tmp_path / "model.gguf")
    gguf(tmp_path / "mmproj-model.gguf")
    gguf(tmp_path / "MTP-model.gguf")
    gguf(tmp_path / "style.gguf", general_type="adapter")
    gguf(tmp_path / "style2.gguf", general_type="LoRA")
    gguf(tmp_path / "weights.gguf", general_type="imatrix")
    gguf(tmp_path / "projector.gguf", general_architecture="clip")
    gguf(tmp_path / "words.gguf", tensors=())
    gguf(tmp_path / ".hidden.gguf")
    gguf(tmp_path / ".git" / "object.gguf")
    assert ids(discover([tmp_path])) == ["model"]


def test_the_walk_goes_three_levels_down_in_sorted_order(tmp_path: Path) -> None:
    for place in ("b", "a", "a/1", "a/1/x", "a/1/x/y"):
        gguf(tmp_path / place / f"{place.replace('/', '-')}.gguf")
    assert ids(discover([tmp_path])) == ["a-1", "a-1-x", "a", "b"]


def test_ids_are_made_unique_by_the_directories_above(tmp_path: Path) -> None:
    for place in ("one/q8", "two/q8", "two/q4", "one/other"):
        gguf(tmp_path / place / "model.gguf" if "q" in place else tmp_path / place / "alone.gguf")
    assert ids(discover([tmp_path])) == ["alone", "one/q8/model", "q4/model", "two/q8/model"]


def test_ids_of_hostile_names_are_safe_for_a_terminal(tmp_path: Path) -> None:
    gguf(tmp_path / "a\n::set-output name=x::\x1b[31m\u202e.gguf")
    (tmp_path / "b\x07\udcff.gguf").write_bytes(b"GGUF\x01")
    found = discover([tmp_path])
    assert ids(found) == ["a\\n::set-output name=x::\\x1b[31m\\u202e", "b\\x07\\udcff"]
    assert found[1].problem is not None
    assert found[1].problem.isprintable()


def test_a_hostile_directory_is_walked_without_opening_what_it_points_at(tmp_path: Path) -> None:
    outside = gguf(tmp_path / "outside" / "secret.gguf")
    root = tmp_path / "models"
    gguf(root / "good.gguf")
    gguf(root / "deep" / "inner.gguf")
    os.mkfifo(root / "fifo.gguf")
    (root / "device.gguf").symlink_to("/dev/zero")
    (root / "passwd.gguf").symlink_to("/etc/passwd")
    (root / "leaves.gguf").symlink_to(outside)
    (root / "broken.gguf").symlink_to("nowhere.gguf")
    (root / "loop.gguf").symlink_to("loop.gguf")
    (root / "deep" / "again").symlink_to(root)
    (root / "etc").symlink_to("/etc")
    (root / "away").symlink_to(outside.parent)
    (root / "stays.gguf").symlink_to("deep/inner.gguf")
    leaves = "a symbolic link that leaves the given path. Refused unopened; name its target."
    assert {a.id: a.problem for a in discover([root])} == {
        "good": None,
        "inner": None,
        "broken": f"{root}/broken.gguf: cannot be read: No such file or directory.",
        "device": f"{root}/device.gguf: {leaves}",
        "fifo": f"{root}/fifo.gguf: not a regular file. Refused unopened.",
        "leaves": f"{root}/leaves.gguf: {leaves}",
        "loop": f"{root}/loop.gguf: cannot be read: Too many levels of symbolic links.",
        "passwd": f"{root}/passwd.gguf: {leaves}",
    }


def test_a_link_that_the_user_names_is_followed(tmp_path: Path) -> None:
    target = gguf(tmp_path / "elsewhere" / "8d3f.bin")
    link = tmp_path / "here" / "model.gguf"
    link.parent.mkdir()
    link.symlink_to(target)
    (found,) = discover([link])
    assert (found.id, found.path, found.problem) == ("model", link, None)


def test_the_hugging_face_cache_layout_is_followed_and_nothing_like_it(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--llama-GGUF"
    blob = gguf(repository / "blobs" / "8d3f").rename(repository / "blobs" / "8d3fe1")
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "llama-Q8_0.gguf").symlink_to(Path("../../blobs") / blob.name)
    other = gguf(tmp_path / "models--org--other" / "blobs" / "77")
    (snapshot / "other.gguf").symlink_to(other)
    llama, foreign = discover([snapshot])
    assert (llama.id, llama.problem) == ("llama-Q8_0", None)
    assert foreign.problem is not None
    assert "leaves the given path" in foreign.problem


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
        ('{"a": NaN}', "not valid JSON: NaN is not JSON."),
        ('{"a": 1, "a": 2}', "not valid JSON: duplicate key 'a'."),
        ("[" * 100_000, "not valid JSON: maximum recursion depth exceeded"),
        (" " * 10_000_001, "expected <= 10000000 bytes."),
    ],
)
def test_a_hostile_config_is_a_problem(config: str, reason: str, tmp_path: Path) -> None:
    (hf(tmp_path / "llama") / "config.json").write_text(config)
    (found,) = discover([tmp_path / "llama"])
    assert found.problem is not None
    assert found.problem.startswith(f"{tmp_path}/llama/config.json: {reason}")
    assert found.is_quantized


def test_gguf_files_beside_a_config_without_weights_are_the_artifacts(tmp_path: Path) -> None:
    hf(tmp_path / "repo", weights="", dtype="bfloat16")
    gguf(tmp_path / "repo" / "model-Q8_0.gguf")
    assert ids(discover([tmp_path])) == ["model-Q8_0"]


def test_the_original_is_the_most_exact_unquantized_artifact(tmp_path: Path) -> None:
    broken = tmp_path / "broken-F32.gguf"
    broken.write_bytes(b"GGUF")
    gguf(tmp_path / "q.gguf")
    assert choose_reference(discover([tmp_path]), None) is None
    hf(tmp_path / "hf", dtype="float32")
    for name, file_type, tensor_type in (("f16", 1, F16), ("bf16", 32, BF16), ("f32", 0, F32)):
        gguf(tmp_path / f"{name}.gguf", file_type=file_type, tensor_type=tensor_type)
        chosen = choose_reference(discover([tmp_path]), None)
        assert chosen is not None
        assert chosen.id == name


def test_the_named_original_is_taken_whatever_else_there_is(tmp_path: Path) -> None:
    gguf(tmp_path / "f32.gguf", file_type=0, tensor_type=F32)
    (named,) = discover([gguf(tmp_path / "q.gguf")])
    assert choose_reference(discover([tmp_path]), named) is named


def test_two_equally_good_originals_are_a_usage_error(tmp_path: Path) -> None:
    gguf(tmp_path / "a.gguf", file_type=1, tensor_type=F16)
    gguf(tmp_path / "b.gguf", file_type=1, tensor_type=F16)
    with pytest.raises(UsageError) as refused:
        choose_reference(discover([tmp_path]), None)
    assert str(refused.value) == (
        "--qgate-reference: 2 artifacts could be the original: a, b. "
        "Name one with --qgate-reference PATH."
    )


def test_an_original_is_looked_for_directly_beside_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = gguf(tmp_path / "f16.gguf", file_type=1, tensor_type=F16)
    quantized = gguf(tmp_path / "q8.gguf")
    (tmp_path / "broken.gguf").touch()
    gguf(tmp_path / "other" / "far.gguf", file_type=1, tensor_type=F16)
    awq = hf(tmp_path / "awq", quantization_config={"quant_method": "awq"})
    hf(tmp_path / "base", dtype="bfloat16")
    assert ids(beside([quantized])) == ["base", "f16"]
    assert ids(beside([awq])) == ["base", "f16"]
    assert ids(beside([original])) == ["base"]
    assert ids(beside([tmp_path / "other" / "far.gguf"])) == []
    monkeypatch.chdir(tmp_path)
    assert ids(beside([Path("q8.gguf")])) == ["base", "f16"]


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
