"""Tasks by lm-eval's names, asked of a model behind a running server.

A server answers with text: what is generated is graded, choices are an error of their row alone.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from tests.plugin.conftest import CLOSED_PORT
from tests.plugin.lm_eval_tasks import FEW, KNOWN, MADE_TOKENS, METRICS, rows_of, write_tasks
from tests.support.servers import SERVERS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's reference, twice: `original` and `copy`, as GGUF files and as directories."""
    pytest.importorskip("llama_cpp", reason="pip install 'pytest-qgate[gguf]'")
    pytest.importorskip("gguf", reason="the file is written with the gguf package")
    from qgate.demo.formats.gguf_convert import convert

    directory = tmp_path_factory.mktemp("models")
    convert(model_directory(), directory / "original.gguf")
    shutil.copy(directory / "original.gguf", directory / "copy.gguf")
    for name in ("original", "copy"):
        shutil.copytree(model_directory(), directory / name)
    return directory


@pytest.mark.parametrize(
    ("program", "reference_in"),
    [
        ("llama-cpp-python", "openai_server"),
        ("llama-cpp-python", "llama_cpp"),
        ("llama-server", "llama_cpp"),
        pytest.param("vllm", "transformers", marks=pytest.mark.vllm),
    ],
)
def test_what_a_server_says_is_graded_nothing_flips_and_choices_are_an_error(
    project: Project, models: Path, tmp_path: Path, program: str, reference_in: str
) -> None:
    ending = "" if program == "vllm" else ".gguf"
    copy, reference = (models / f"{name}{ending}" for name in ("copy", "original"))
    with SERVERS[program](copy, tmp_path / "server.log") as url:
        both = f', reference_url: "{url}"' if reference_in == "openai_server" else ""
        server = f'runtimes: {{openai_server: {{url: "{url}"{both}}}}}'
        seen = project.pytest(
            f"--qgate={copy}",
            f"--qgate-reference={reference}",
            f"--qgate-thresholds={write_tasks(project.directory, server)}",
            "--qgate-runtime=openai_server",
            f"--qgate-mlflow-uri={CLOSED_PORT}",
            "-m",
            "accuracy",
            HF_HUB_OFFLINE="1",
        )

    slack = 0.0 if reference_in == "openai_server" else 0.1
    who = "reference original: " if reference_in == "openai_server" else ""
    rows = rows_of(seen)
    assert seen.code == 1, seen.text
    assert list(rows) == list(METRICS)
    for name in MADE_TOKENS:
        details = rows[name]["details"]
        assert (rows[name]["verdict"], rows[name]["n"]) == ("pass", FEW), rows[name]["message"]
        assert (details["task"], details["lost"], details["gained"]) == (name, 0, 0)
        # this server's tokens are those of the answer's text, which may be others than were said
        assert details["length_ratio"] == pytest.approx(1.0, abs=slack)
    assert rows[KNOWN]["details"]["reference_share"] > 0.9
    assert rows["arc_easy"]["verdict"] == "error"
    assert rows["arc_easy"]["message"] == (
        f"copy: {who}runtime 'openai_server' gives no log-probabilities of a prompt;"
        " name a runtime that holds the model itself"
    )
    assert rows["arc_easy"]["message"] in seen.lines
    (artifact,) = seen.report()["artifacts"]
    assert artifact["runtime"]["version"].startswith(program)
    assert artifact["compared_with"] == {"runtime": reference_in}
