"""Discovery: what is found under a path, what is it called, and what is never opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qgate.artifacts import discover
from qgate.errors import UsageError
from tests.artifacts.model_files import gguf, ids
from tests.support.stories260k import STORIES, needs_stories


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
