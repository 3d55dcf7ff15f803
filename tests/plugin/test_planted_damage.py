"""Real files of a real model with one fault each: the row that is there for it sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.plugin import planting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's models, those that a gate must refuse too."""
    for name in ("llama_cpp", "gguf", "safetensors"):
        pytest.importorskip(name, reason="the demo's models are made with the GGUF extra")
    from qgate.demo.__main__ import main

    directory = tmp_path_factory.mktemp("demo")
    assert main([str(directory), "--with-broken"]) == 0
    return directory


@pytest.fixture
def planted_files(tmp_path: Path) -> Path:
    directory = tmp_path / "planted"
    directory.mkdir()
    return directory


@pytest.fixture
def gate(project: Project, demo: Path) -> Callable[..., Outcome]:
    """gate(artifact, arguments ...) -> a run against the demo's original."""

    def run(artifact: Path, *arguments: str) -> Outcome:
        return project.pytest(
            f"--qgate={artifact}",
            f"--qgate-reference={demo / 'qgate-demo-F16.gguf'}",
            f"--qgate-mlflow-uri={CLOSED_PORT}",
            *arguments,
        )

    return run


def details(seen: Outcome, artifact: str, check: str) -> dict[str, Any]:
    entries = {entry["id"]: entry for entry in seen.report()["artifacts"]}
    rows = {row["name"]: row for row in entries[artifact]["checks"]}
    found: dict[str, Any] = rows[check]["details"]
    return found


def verdicts_of(seen: Outcome, artifact: str, *areas: str) -> set[str]:
    found = seen.verdicts(artifact)
    return {verdict for check, verdict in found.items() if check.partition(".")[0] in areas}


def test_another_end_token_fails_termination_and_no_row_of_perplexity(
    gate: Callable[..., Outcome], project: Project, demo: Path, planted_files: Path
) -> None:
    artifact = planted_files / "ends-elsewhere.gguf"
    planting.change_end_token(demo / "qgate-demo-Q8_0.gguf", artifact)

    project.write("short.yaml", "version: 1\ntext: {windows: 16}\n")
    rows = "test_termination or test_ratio or test_increase or test_kl_mean"

    seen = gate(artifact, "--qgate-thresholds=short.yaml", "-k", rows)

    verdicts = seen.verdicts("ends-elsewhere")
    assert verdicts["edge.termination"] == "fail"
    for check in ("perplexity.ratio", "perplexity.increase", "divergence.kl_mean"):
        assert verdicts[check] == "pass"


def test_one_damaged_language_fails_by_its_name_and_english_is_sound(
    gate: Callable[..., Outcome], demo: Path, planted_files: Path
) -> None:
    artifact = planted_files / "no-russian.gguf"
    planting.damage_cyrillic(demo / "qgate-demo-Q8_0.gguf", artifact)

    seen = gate(artifact, "-k", "test_multilingual")

    assert seen.verdicts("no-russian")["edge.multilingual"] == "fail"
    assert "edge.multilingual (ru): " in seen.message("no-russian", "edge.multilingual")
    members = details(seen, "no-russian", "edge.multilingual")["members"]
    assert members["en"]["high"] < 1.01
    assert members["ru"]["low"] > 2


def test_damage_beyond_half_of_the_context_fails_long_input(
    gate: Callable[..., Outcome], demo: Path, planted_files: Path
) -> None:
    artifact = planted_files / "short-sighted.gguf"
    planting.damage_far_positions(demo / "qgate-demo-Q8_0.gguf", artifact)

    seen = gate(artifact, "-k", "test_long_input")

    assert seen.verdicts("short-sighted")["edge.long_input"] == "fail"
    found = details(seen, "short-sighted", "edge.long_input")
    members, recall = found["members"], found["recall"]
    assert members["facts about 128 tokens back"]["high"] < 1.1
    assert members["facts about 256 tokens back"]["value"] < 1.1
    assert members["facts about 512 tokens back"]["low"] > 2
    assert recall["facts about 256 tokens back"]["said"] >= 28
    assert recall["facts about 512 tokens back"]["reference_said"] >= 30
    assert recall["facts about 512 tokens back"]["said"] < 16


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qgate-demo-Q2_K", "qgate-demo-damaged-Q8_0"])
def test_what_is_broken_throughout_fails_tasks_too(
    gate: Callable[..., Outcome], demo: Path, name: str
) -> None:
    seen = gate(demo / f"{name}.gguf", "-m", "accuracy or edge")

    assert seen.verdicts(name)["accuracy.drill"] == "fail"
    assert seen.verdicts(name)["edge.math"] == "fail"
    assert "Captured worst samples call" in seen.out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qgate-demo-Q8_0", "qgate-demo-Q6_K"])
def test_what_is_sound_passes_every_task_and_edge_case(
    gate: Callable[..., Outcome], demo: Path, name: str
) -> None:
    seen = gate(demo / f"{name}.gguf", "-m", "accuracy or edge")

    assert verdicts_of(seen, name, "accuracy", "edge") == {"pass"}
    assert seen.code == 0
