"""A package of a team's own brings a runtime by one `RuntimeSpec`: no file of qgate knows of it."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT, Toy
from tests.plugin.conftest import CLOSED_PORT, CORE, core_limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

SPEC = """
from __future__ import annotations
from dataclasses import dataclass
from qgate.runtimes.spec import RuntimeSpec, option

@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    lanes: int | None = option("How many lanes multiply.", ge=1, le=8)

def supports(artifact, device):
    return device in ("cpu", "gpu") and artifact.size_bytes > 0

SPEC = RuntimeSpec(
    name="outside",
    title="Outside",
    adapter="outside.adapter:Outside",
    formats=frozenset({"gguf"}),
    preference=30,
    supports=supports,
    import_name="outside",
    distributions=("outside-runtime",),
    unmeasured=frozenset({"memory"}),
    options=Options,
)
"""
ADAPTER = """
from __future__ import annotations
import dataclasses
from importlib.metadata import version
from qgate.records import RuntimeFacts
from qgate.runtimes.fake.adapter import Fake

class Outside(Fake):
    def describe(self):
        installed = version("outside-runtime")
        return RuntimeFacts(name="outside", version=installed, device="cpu", build="numpy")

    def load(self, settings):
        loaded = super().load(settings)
        return dataclasses.replace(loaded, kernel=f"{settings.options.lanes} lanes")
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where the package is installed."""
    facts = tmp_path / "site" / "outside_runtime-2.5.1.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: outside-runtime\nVersion: 2.5.1\n"
    )
    (facts / "entry_points.txt").write_text("[qgate.runtimes]\noutside = outside.spec:SPEC\n")
    package = facts.parent / "outside"
    package.mkdir()
    for name, text in (("__init__", ""), ("spec", SPEC), ("adapter", ADAPTER)):
        (package / f"{name}.py").write_text(text)
    return facts.parent


def gate(project: Project, site: Path, models: Path, options: str) -> Outcome:
    """Without --qgate-runtime, with these options of the runtime in the team's YAML."""
    project.write("core.yaml", f"{core_limits()}runtimes:\n  outside: {options}\n")
    limits = f"--qgate-thresholds={project.directory / 'core.yaml'}"
    paths = [f"--qgate={models}", f"--qgate-mlflow-uri={CLOSED_PORT}", limits]
    return project.pytest(*paths, *CORE, PYTHONPATH=str(site))


def test_it_serves_what_it_supports_with_its_options_and_is_in_the_report(
    project: Project, site: Path, toys: Callable[..., Path]
) -> None:
    models = toys(served=Toy(noise=0.001))

    seen = gate(project, site, models, "{lanes: 4}")

    assert seen.code == 0, seen.text
    report = seen.report()
    [artifact] = report["artifacts"]
    for runtime in (artifact["runtime"], report["reference"]["runtime"]):
        assert (runtime["name"], runtime["version"]) == ("outside", "2.5.1")
        assert runtime["kernel"] == "4 lanes"
    assert f"Outside supports {artifact['scheme']} on a " in artifact["runtime"]["reason"]
    assert "outside 2.5.1" in seen.out


def test_a_wrong_option_is_refused_at_its_line_and_right_ones_are_in_the_schema(
    project: Project, site: Path, toys: Callable[..., Path]
) -> None:
    seen = gate(project, site, toys(), "{lanes: 9}")

    assert seen.code == 4
    assert "runtimes.outside.lanes: got 9; expected a whole number >= 1 and <= 8." in seen.text
    environ = {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    schema = project.run([sys.executable, "-m", "qgate", "schema"], **environ).out
    keys = json.loads(schema)["properties"]["runtimes"]["properties"]["outside"]["properties"]
    assert keys["lanes"]["description"] == "How many lanes multiply."
    assert (keys["lanes"]["minimum"], keys["lanes"]["maximum"]) == (1, 8)
    doctor = project.run([sys.executable, "-m", "qgate", "doctor"], **environ).out
    assert ["outside", "2.5.1", "GGUF"] in [line.split() for line in doctor.splitlines()]


def test_what_it_tells_of_itself_is_read_with_suspicion(
    project: Project, site: Path, toys: Callable[..., Path]
) -> None:
    adapter = site / "outside" / "adapter.py"
    adapter.write_text(ADAPTER.replace("version=installed", "version=None"))

    seen = gate(project, site, toys(served=Toy()), "{lanes: 4}")

    assert seen.code == 1
    assert "INTERNALERROR" not in seen.text
    line = "runtime: unreadable answer to describe: version: got nothing; expected a text."
    assert line in seen.message("served", "perplexity.ratio")
    assert seen.verdicts("served")["perplexity.ratio"] == "error"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("outside.adapter:Outside", "is no RuntimeSpec"),
        ("outside.lost:SPEC", "cannot be imported here (ModuleNotFoundError: No module named"),
    ],
)
def test_an_entry_point_without_a_spec_is_a_warning_of_the_run_and_never_its_error(
    project: Project, site: Path, toys: Callable[..., Path], names: str, problem: str
) -> None:
    [facts] = site.glob("*.dist-info")
    (facts / "entry_points.txt").write_text(f"[qgate.runtimes]\noutside = {names}\n")
    words = ("--qgate-runtime=fake", f"--qgate-mlflow-uri={CLOSED_PORT}", "-m", "integrity")
    seen = project.pytest(
        f"--qgate={toys(good=Toy())}", *words, "-W", "error", PYTHONPATH=str(site)
    )

    assert seen.code == 0, seen.text
    line = f"warning: qgate.runtimes: outside: got {names}, which {problem}"
    first, last = (shown for shown in seen.lines if line in shown)
    assert (first, last.startswith("warning: ")) == (f"qgate: {last}", True)
