"""`qgate init DIR`, as a user types it: two files, which change nothing until they are edited."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from qgate.artifacts import discover
from qgate.thresholds import band_of, load_thresholds
from tests.artifacts.model_files import F16, gguf, hf

if TYPE_CHECKING:
    from qgate.records import Limit

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
HOSTILE = "evil\nlimits: {perplexity.ratio: off}\n# [x]"
WORKFLOW = ".github/workflows/qgate.yml"


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with models: a reference, an artifact of 8 bits, one of a hostile name."""
    gguf(tmp_path / "models" / "made-F16.gguf", file_type=1, tensor_type=F16)
    gguf(tmp_path / "models" / "made-Q8_0.gguf")
    gguf(tmp_path / "models" / f"{HOSTILE}.gguf", file_type=15)
    return tmp_path


def limits_of(place: Path, file: Path | None) -> dict[str, dict[str, Limit]]:
    thresholds = load_thresholds(file, place)
    return {
        one.id: dict(thresholds.limits_for(one.id, one.scheme, band_of(one.bits).name))
        for one in discover([place / "models"])
    }


def test_as_it_stands_the_file_changes_nothing(place: Path) -> None:
    done = run(place, "qgate", "init", "models")

    assert (done.returncode, done.stderr) == (0, "")
    first, second, last = done.stdout.splitlines()
    assert first == (
        "qgate.yaml: 2 artifacts, reference made-F16; as it stands the shipped limits apply"
    )
    assert second.startswith(f"{WORKFLOW}: gates them on a runner of yours")
    assert last == "Now type: pytest --qgate=models --qgate-thresholds=qgate.yaml"
    assert limits_of(place, place / "qgate.yaml") == limits_of(place, None)
    typed = last.removeprefix("Now type: ").split()
    listed = run(place, *typed, "--collect-only", "-q", "-q")
    assert listed.returncode == 0, listed.stdout + listed.stderr


def test_a_line_that_is_switched_on_says_what_applied_before(place: Path) -> None:
    run(place, "qgate", "init", "models")
    written = (place / "qgate.yaml").read_text()
    start, end = written.index("#limits:"), written.index("#artifacts:")
    rows = re.sub(r"^#(?=\S|  \S|    \S)", "", written[start:end], flags=re.MULTILINE)
    (place / "edited.yaml").write_text(written[:start] + rows + written[end:])

    edited, shipped = limits_of(place, place / "edited.yaml"), limits_of(place, None)

    del edited["made-F16"], shipped["made-F16"]
    sources = {limit.source.path for limits in edited.values() for limit in limits.values()}
    assert sources == {"edited.yaml"}
    for artifact, limits in shipped.items():
        for check, limit in limits.items():
            ours = edited[artifact][check]
            assert dataclasses.replace(ours, source=limit.source, band=limit.band) == limit


def test_the_workflow_is_one_that_github_takes(place: Path) -> None:
    run(place, "qgate", "init", "models")
    path = place / WORKFLOW
    path.write_text(
        path.read_text().replace("FULL_COMMIT_SHA", "0123456789abcdef" * 2 + "01234567")
    )

    schema = [TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    audit = [TOOLS / "zizmor", "--color=never", "--offline", "--no-config", path]
    for command in (schema, audit):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "extras" not in path.read_text()
    job: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]["gate"]
    gate = yaml.safe_load((ROOT / ".github" / "workflows" / "gate.yml").read_text())
    assert job["with"].keys() <= gate[True]["workflow_call"]["inputs"].keys()
    assert (job["with"]["models"], job["with"]["thresholds"]) == ("models", "qgate.yaml")


def test_hugging_face_models_are_gated_with_what_serves_them(place: Path) -> None:
    hf(place / "theirs" / "small", quantization_config={"quant_method": "bitsandbytes"})
    done = run(place, "qgate", "init", "theirs", "--reference=models/made-F16.gguf")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("--qgate-reference=models/made-F16.gguf\n")
    given = yaml.safe_load((place / WORKFLOW).read_text())["jobs"]["gate"]["with"]
    assert (given["extras"], given["reference"]) == ("gguf,transformers", "models/made-F16.gguf")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("empty",),
            "init: empty contains no artifact (looked for config.json and *.gguf, 0 files).",
        ),
        (("nowhere",), "init: nowhere does not exist."),
        (
            ("alone",),
            "init: alone: no reference: got quantized models only; expected an unquantized one in"
            " or beside it. Name one with --reference PATH",
        ),
        (
            ("models", "--thresholds=there.yaml"),
            "init: there.yaml: exists; expected a new file. Remove it first",
        ),
        (
            ("models", "--thresholds=.github/workflows/qgate.yml"),
            "init: --thresholds: got .github/workflows/qgate.yml, the workflow's own place;"
            " expected another file. Type: --thresholds qgate.yaml",
        ),
        (
            ("models", "--thresholds=there.yaml/new.yaml"),
            "init: there.yaml/new.yaml: cannot be written: File exists. Start it in a directory"
            " that you may write to",
        ),
        (("${{x}}",), "init: ${{x}}: got '${{'; expected a path without it. Rename it"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    place: Path, arguments: tuple[str, ...], line: str
) -> None:
    (place / "empty").mkdir()
    gguf(place / "alone" / "made-Q8_0.gguf")
    (place / "there.yaml").write_text("mine")

    done = run(place, "qgate", "init", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (4, "", f"{line}\n")
    assert (place / "there.yaml").read_text() == "mine"
    assert not (place / WORKFLOW).exists()
