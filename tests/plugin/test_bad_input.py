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


def test_the_effort_is_in_the_header_and_in_the_report(project: Project, toys: Toys) -> None:
    seen = project.gate(toys(good=Toy()), "--qgate-effort=quick", "-k", "integrity")

    assert any(line.endswith(", effort quick") for line in seen.lines)
    assert seen.report()["thresholds"]["effort"] == "quick"


def test_no_reference_fails_only_the_rows_that_need_one(project: Project, toys: Toys) -> None:
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


def test_a_wrong_thresholds_file_ends_the_run_with_its_line(project: Project, toys: Toys) -> None:
    """What else is refused before a run: tests/planning/test_bad_input.py."""
    project.write("limits.yaml", "version: 1\nlimits:\n  perplexity.ratio: {mex: 1.2}\n")
    seen = project.gate_all(toys(good=Toy()), "--qgate-thresholds=limits.yaml", "-m", "integrity")

    assert seen.code == 4
    (line,) = [line for line in seen.lines if line.startswith("ERROR: ")]
    assert line.startswith("ERROR: limits.yaml:3: unknown key 'mex' in perplexity.ratio. Did you")
    assert "Traceback" not in seen.text
    assert "collected" not in seen.out
    assert not (project.directory / ".qgate").exists()


def test_a_pattern_that_is_of_no_artifact_is_a_warning_and_not_let_pass_strictly(
    project: Project, toys: Toys
) -> None:
    project.write(
        "limits.yaml",
        "version: 1\nartifacts:\n  good*: {memory.peak: off}\n  goods: {perplexity.ratio: off}\n",
    )
    models, limits = toys(good=Toy()), "--qgate-thresholds=limits.yaml"
    seen = project.gate(models, limits, "-k", "integrity")
    strict = project.gate(models, limits, "-k", "integrity", "--qgate-strict")

    line = (
        "limits.yaml:4: artifacts: got 'goods', which matches no artifact; expected one of good."
        " Did you mean 'good'?"
    )
    assert (seen.code, strict.code) == (0, 4)
    assert {f"qgate: warning: {line}", f"warning: {line}"} <= set(seen.lines)
    assert f"ERROR: {line}" in strict.lines


def test_an_unreadable_file_is_an_error_of_its_rows_and_of_no_others(
    project: Project, toys: Toys
) -> None:
    """What else is refused of a file: tests/artifacts/test_gguf_hostile.py."""
    models = toys(broken=Toy(), good=Toy())
    path = models / "broken.gguf"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-500])
    seen = project.gate(models)

    assert seen.code == 1
    assert seen.verdicts("good") == sound(seen.verdicts("good"))
    broken = seen.verdicts("broken")
    assert (set(broken.values()), len(broken)) == ({"error"}, 11)
    has = f"ends at byte {size}; the file has {size - 500} bytes. Download it again."
    line = f"tensor 'blk.0.ffn_up.weight' {has}"
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
        "Name the right reference with --qgate-reference, or convert the model again"
    )


def test_a_damaged_reference_is_an_error_of_every_row_that_needs_it(
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
