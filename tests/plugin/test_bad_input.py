"""What cannot be gated is said in one line, with an exit code that is never 0."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy, write_toy
from tests.plugin.conftest import sound

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

Toys = Callable[..., Path]


def test_a_missing_path(project: Project) -> None:
    seen = project.gate(Path("nowhere"))

    assert seen.code == 4
    assert f"ERROR: --qgate: {project.directory}/nowhere does not exist." in seen.lines


def test_an_effort_that_there_is_not(project: Project, toys: Toys) -> None:
    seen = project.gate(toys(good=Toy()), "--qgate-effort=through")

    assert seen.code == 4
    assert (
        "ERROR: --qgate-effort: got 'through'; expected one of quick, standard, thorough."
        " Did you mean 'thorough'?"
    ) in seen.lines


def test_the_effort_is_in_the_header_and_in_the_report(project: Project, toys: Toys) -> None:
    seen = project.gate(toys(good=Toy()), "--qgate-effort=quick", "-k", "integrity")

    assert any(line.endswith(", effort quick") for line in seen.lines)
    assert seen.report()["thresholds"]["effort"] == "quick"


def test_an_empty_directory(project: Project) -> None:
    (project.directory / "models").mkdir()
    seen = project.gate(Path("models"))

    assert seen.code == 4
    assert (
        f"ERROR: --qgate: {project.directory}/models contains no artifact"
        " (looked for config.json and *.gguf, 0 files)."
    ) in seen.lines


def test_only_the_original(project: Project, toys: Toys) -> None:
    models = toys()
    seen = project.gate(models)

    assert seen.code == 4
    assert (
        f"ERROR: --qgate: {models}: got only the original (original);"
        " expected at least one artifact to hold against it"
    ) in seen.lines


def test_no_original_fails_only_the_rows_that_need_one(project: Project, toys: Toys) -> None:
    models = toys(good=Toy())
    (models / "original.gguf").unlink()
    seen = project.gate(models)

    assert seen.code == 1
    verdicts = seen.verdicts("good")
    assert verdicts["integrity.files"] == verdicts["integrity.weights"] == "pass"
    needing = [name for name in verdicts if name.partition(".")[0] in ("perplexity", "divergence")]
    assert {verdicts[name] for name in needing} == {"error"}
    assert seen.message("good", "perplexity.ratio") == (
        "good: no reference: no unquantized artifact in or beside the given paths."
        " Name one with --qgate-reference PATH"
    )
    assert "Traceback" not in seen.text


def test_two_possible_originals(project: Project, toys: Toys) -> None:
    models = toys(good=Toy(), copy=Toy(scheme="F32"))
    seen = project.gate(models)

    assert seen.code == 4
    assert (
        "ERROR: --qgate-reference: 2 artifacts could be the original: copy, original."
        " Name one with --qgate-reference PATH."
    ) in seen.lines
    named = project.gate(models, f"--qgate-reference={models / 'original.gguf'}", "-k", "good")
    assert named.code == 0


def test_an_unknown_runtime_name(project: Project, toys: Toys) -> None:
    seen = project.gate(toys(good=Toy()), "--qgate-runtime=lama_cpp")

    assert seen.code == 4
    (line,) = [line for line in seen.lines if line.startswith("ERROR: ")]
    assert line.startswith("ERROR: --qgate-runtime: unknown runtime: got 'lama_cpp'; expected one")
    assert line.endswith("Did you mean 'llama_cpp'?")


def test_a_report_that_cannot_be_written_is_told_before_the_run(
    project: Project, toys: Toys
) -> None:
    project.write("taken", "a file")
    seen = project.gate(toys(good=Toy()), "--qgate-json=taken/report.json")

    assert seen.code == 4
    assert (
        f"ERROR: {project.directory}/taken/report.json: the report cannot be written:"
        " got a path inside a file; expected a file. Name another one with --qgate-json FILE."
    ) in seen.lines
    assert "collected" not in seen.out


THRESHOLDS = {
    "an unknown key": (
        "version: 1\nlimits:\n  perplexity.ratio: {mex: 1.2}\n",
        "limits.yaml:3: unknown key 'mex' in perplexity.ratio. Did you mean 'max'? Valid: max, ",
    ),
    "a row that does not exist": (
        "version: 1\nlimits:\n  perplexity.ration: {max: 1.2}\n",
        "limits.yaml:3: unknown check 'perplexity.ration' in limits."
        " Did you mean 'perplexity.ratio'?",
    ),
    "a duplicate key": (
        "version: 1\nlimits:\n  perplexity.ratio: {max: 1.2}\n  perplexity.ratio: {max: 9}\n",
        "limits.yaml:4: duplicate key 'perplexity.ratio'",
    ),
    "a wrong unit": (
        "version: 1\nlimits:\n  perplexity.ratio: {max: 5%}\n",
        "limits.yaml:3: perplexity.ratio.max: got '5%'; expected a number >= 1.0"
        " (artifact / reference). Write 1.05 for 5 % more.",
    ),
    "an empty file": ("", "limits.yaml:1: "),
    "a file without limits": ("version: 1\ninherit: none\n", "limits.yaml:"),
    "no file": (None, "limits.yaml: "),
}


@pytest.mark.parametrize("case", THRESHOLDS)
def test_a_wrong_thresholds_file_ends_the_run_with_its_line(
    project: Project, toys: Toys, case: str
) -> None:
    text, beginning = THRESHOLDS[case]
    if text is not None:
        project.write("limits.yaml", text)
    seen = project.gate(toys(good=Toy()), "--qgate-thresholds=limits.yaml")

    assert seen.code == 4
    (line,) = [line for line in seen.lines if line.startswith("ERROR: ")]
    assert line.removeprefix("ERROR: ").startswith(beginning)
    assert "Traceback" not in seen.text
    assert not (project.directory / ".qgate").exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def with_wrong_magic(path: Path) -> None:
    path.write_bytes(b"GGML" + path.read_bytes()[4:])


def with_hostile_count(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[8:16] = (2**62).to_bytes(8, "little")
    path.write_bytes(bytes(raw))


DAMAGE = {
    truncated: "tensor 'blk.0.ffn_up.weight' ends at byte {size}; the file has {left} bytes."
    " Download it again.",
    emptied: "the file is empty. Download it again.",
    with_wrong_magic: "not a GGUF file: got 'GGML' at its beginning; expected 'GGUF'.",
    with_hostile_count: "number of tensors: got 4611686018427387904; expected <= 65536.",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unreadable_file_is_an_error_of_its_rows_and_of_no_others(
    project: Project, toys: Toys, damage: Callable[[Path], None]
) -> None:
    models = toys(broken=Toy(), good=Toy())
    path = models / "broken.gguf"
    size = path.stat().st_size
    damage(path)
    seen = project.gate(models)

    assert seen.code == 1
    assert seen.verdicts("good") == sound(seen.verdicts("good"))
    broken = seen.verdicts("broken")
    assert (set(broken.values()), len(broken)) == ({"error"}, 11)
    line = DAMAGE[damage].format(size=size, left=size - 500)
    assert seen.message("broken", "perplexity.ratio") == f"broken: {path}: {line}"
    assert f"broken: {path}: {line}" in seen.lines
    assert "Traceback" not in seen.text


def test_another_tokenizer_is_refused_however_alike_the_numbers_are(
    project: Project, toys: Toys
) -> None:
    models = toys(good=Toy(), foreign=Toy(tokens_from="x"))
    seen = project.gate(models)

    assert seen.code == 1
    assert seen.verdicts("good") == sound(seen.verdicts("good"))
    verdicts = seen.verdicts("foreign")
    assert verdicts["integrity.tokenizer"] == "fail"
    assert verdicts["perplexity.ratio"] == verdicts["divergence.kl_mean"] == "error"
    message = seen.message("foreign", "perplexity.ratio")
    assert message.startswith("foreign: tokenizer differs from the reference's: ")
    assert message.endswith(
        "Name the right original with --qgate-reference, or convert the model again"
    )


def test_a_damaged_original_is_an_error_of_every_row_that_needs_it(
    project: Project, toys: Toys
) -> None:
    models = toys(good=Toy())
    write_toy(models / "original.gguf", Toy(scheme="F32", fault="segfault:score"))
    seen = project.gate(models)

    assert seen.code == 1
    assert seen.message("good", "perplexity.ratio").startswith(
        "good: reference original: runtime crashed: SIGSEGV in score"
    )
    assert seen.report()["verdict"] == "error"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_an_error_of_its_rows(project: Project, toys: Toys) -> None:
    models = toys(locked=Toy(), good=Toy())
    (models / "locked.gguf").chmod(0)
    seen = project.gate(models)

    assert seen.code == 1
    assert set(seen.verdicts("locked").values()) == {"error"}


def test_an_empty_hugging_face_directory_holds_in_no_row(project: Project, toys: Toys) -> None:
    models = toys(small=Toy())
    (models / "theirs").mkdir()
    (models / "theirs" / "config.json").write_text('{"model_type": "llama"}')
    (models / "theirs" / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")

    seen = project.gate(models)

    assert seen.code == 1
    assert set(seen.verdicts("theirs").values()) == {"error", "fail"}
    assert "got no tensor in any file" in seen.message("theirs", "integrity.files")
    assert "cannot be compared" in seen.message("theirs", "integrity.tokenizer")
    assert "Traceback" not in seen.text
