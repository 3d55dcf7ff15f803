"""A model behind a running server: what it says is gated, what it cannot tell is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.checks import CHECKS
from qgate.thresholds import load_thresholds
from tests.plugin.conftest import CLOSED_PORT
from tests.support.servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

pytestmark = pytest.mark.slow

ARTIFACT = "qgate-demo-Q8_0"
KEPT = ("perplexity.increase", "edge.math", "edge.termination", "edge.batch_invariance")


@pytest.fixture(scope="module")
def models(demo_models: Callable[..., Path]) -> Path:
    """The demo's reference and its Q8_0."""
    return demo_models("F16", "Q8_0")


def limits(directory: Path, url: str) -> str:
    """A thresholds file with few rows, and where the server is."""
    shipped = load_thresholds(None, directory)
    names = {limit.check for limit in shipped.reachable() if limit.check in CHECKS}
    return "\n".join(
        [
            "version: 1",
            f'runtimes: {{openai_server: {{url: "{url}"}}}}',
            f"tasks: {{{', '.join(f'{task.name}: off' for task in shipped.tasks)}}}",
            "limits:",
            *(f"  {name}: off" for name in sorted(names - set(KEPT))),
            "",
        ]
    )


@pytest.mark.parametrize("program", ["llama-cpp-python", "llama-server"])
def test_a_served_model_is_gated_by_what_it_says(
    project: Project, models: Path, tmp_path: Path, program: str
) -> None:
    with SERVERS[program](models / f"{ARTIFACT}.gguf", tmp_path / "server.log") as url:
        project.write("limits.yaml", limits(project.directory, url))
        seen = project.pytest(
            f"--qgate={models}",
            "--qgate-runtime=openai_server",
            "--qgate-thresholds=limits.yaml",
            f"--qgate-mlflow-uri={CLOSED_PORT}",
        )

    assert seen.code == 1, seen.text
    verdicts = seen.verdicts(ARTIFACT)
    assert {row: verdicts[row] for row in KEPT} == {
        "perplexity.increase": "error",
        "edge.math": "pass",
        # a chat frame has special tokens, which llama-cpp-python's text leaves out
        "edge.termination": "error" if program == "llama-cpp-python" else "pass",
        "edge.batch_invariance": "pass",
    }
    assert seen.message(ARTIFACT, "perplexity.increase") == (
        f"{ARTIFACT}: runtime 'openai_server' gives no log-probabilities of a prompt;"
        " name a runtime that holds the model itself"
    )
    if program == "llama-cpp-python":
        assert "Serve the model with vllm or llama-server, which take token ids" in seen.message(
            ARTIFACT, "edge.termination"
        )
    (artifact,) = seen.report()["artifacts"]
    assert artifact["runtime"]["name"] == "openai_server"
    assert artifact["runtime"]["version"].startswith(program)
