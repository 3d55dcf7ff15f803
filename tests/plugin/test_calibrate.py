"""`python -m qgate.calibrate` as its users type it, in a process of its own."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from qgate.demo.formats.gguf_convert import convert
from qgate.planning.noise_floor import Noise, read_noise
from tests.conftest import ROOT, Toy, write_toy
from tests.plugin.conftest import BRIEF, ITEMS, LONG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

SPOILT = 0.1
NOISY = """
import hashlib
import numpy as np
from qgate.records import RuntimeFacts
from qgate.runtimes.base import Answer
from qgate.runtimes.fake.adapter import Fake

class Planted(Fake):
    '''Says yes, but for a tenth of the prompts, by what they are and by their place.'''

    def describe(self):
        return RuntimeFacts(name="planted", version="1", device="cpu")

    def answer(self, prompts, batch_size, progress):
        with open(LOG, "a") as log:
            log.write(f"{len(prompts)} by {batch_size}\\n")
        return [self._say(prompt, place) for place, prompt in enumerate(prompts)]

    def _say(self, prompt, place):
        seen = hashlib.sha256(prompt.ids.tobytes() + bytes([place % 256])).digest()
        text = b"no" if seen[0] < SPOILT * 256 else b"yes"
        ids = np.frombuffer(text, dtype=np.uint8).astype(np.int32)
        margins = np.ones(len(ids) + 1, dtype=np.float32)
        return Answer(ids=ids, end=2, margins_nats=margins)
"""


def noises(outcome: Outcome, path: str = ".qgate/noise.json") -> tuple[Noise, ...]:
    return read_noise(outcome.directory / path).calibrations


def test_llama_cpp_hardly_flips_an_answer_of_the_demo_model(
    project: Project, calibrate: Callable[..., Outcome], tmp_path: Path
) -> None:
    for name in ("gguf", "safetensors", "llama_cpp"):
        pytest.importorskip(name)
    (tmp_path / "models").mkdir()
    reference = tmp_path / "models" / "demo-F16.gguf"
    convert(model_directory(), reference)
    shipped = "classification: {file: classification.jsonl, max_drop: 0.1}\n  code: off"
    project.write("brief.yaml", BRIEF.format(tasks=shipped))
    items = ROOT / "thresholds" / "tasks" / "classification.jsonl"
    project.write("classification.jsonl", items.read_text())

    seen = calibrate(tmp_path / "models", "--thresholds", "brief.yaml")

    assert (seen.code, seen.err) == (0, "")
    [found] = noises(seen)
    assert found.original.id == "demo-F16"
    assert found.original.digest == f"sha256:{hashlib.sha256(reference.read_bytes()).hexdigest()}"
    assert found.original.size_bytes == reference.stat().st_size
    assert (found.runtime.name, found.runtime.device) == ("llama_cpp", "cpu")
    assert [one.check for one in found.flips] == ["accuracy.classification", "edge.math"]
    assert found.all_flips is not None
    assert found.all_flips.items == 400
    assert found.all_flips.rate <= 0.01
    assert found.all_flips.upper < 0.03
    assert found.left_out == {}
    assert found.estimates["perplexity.ratio"].value == pytest.approx(1.0, abs=1e-4)
    assert found.estimates["divergence.kl_mean"].value < 1e-4
    for check in ("latency.ttft", "latency.itl", "latency.tps"):
        ratio = found.estimates[check]
        assert ratio.n == 6
        assert ratio.low < 1.1
        assert ratio.high > 0.9
    shown = [line.split()[0] for line in seen.lines if line]
    assert {"accuracy.classification", "all", "perplexity.ratio", "latency.tps"} <= set(shown)
    assert seen.lines[-1] == "noise: .qgate/noise.json"
    assert [path.name for path in reference.parent.iterdir()] == [reference.name]


def test_a_runtime_whose_answers_hang_on_their_order_shows_its_flip_rate(
    project: Project,
    calibrate: Callable[..., Outcome],
    planted: Callable[[str], str],
    toy: Path,
    brief: Path,
) -> None:
    log = project.directory / "asked.log"
    project.write("pytest.ini", "[pytest]\nqgate_confine = off\n")  # the runtime writes the log
    name = planted(f"LOG, SPOILT = {str(log)!r}, {SPOILT}\n{NOISY}")
    arguments = (toy, "--runtime", name, "--thresholds", brief)

    first = calibrate(*arguments)

    assert first.code == 0, first.err
    [found] = noises(first)
    flips = found.flips_of("accuracy.own")
    assert flips is not None
    planted_rate = 2 * SPOILT * (1 - SPOILT)
    assert abs(flips.rate - planted_rate) < 3 * (planted_rate * (1 - planted_rate) / ITEMS) ** 0.5
    assert flips.rate < flips.upper < flips.rate + 0.05
    assert flips.texts_differ == flips.flips
    assert found.all_flips is not None
    assert (found.all_flips.items, found.all_flips.flips) == (ITEMS, flips.flips)
    assert list(found.left_out) == ["edge.math"]  # to which yes is no answer
    assert "left out: edge.math" in first.out
    own = [line for line in log.read_text().splitlines() if line.startswith(f"{ITEMS} ")]
    assert own == [f"{ITEMS} by 16", f"{ITEMS} by 8"]

    second = calibrate(*arguments)

    # the store knows the first run's answers; the second run's are measured again
    assert second.code == 0
    own = [line for line in log.read_text().splitlines() if line.startswith(f"{ITEMS} ")]
    assert own == [f"{ITEMS} by 16", f"{ITEMS} by 8", f"{ITEMS} by 8"]
    [again] = noises(second)
    assert again.flips == found.flips


def test_each_reference_and_runtime_has_one_entry(
    project: Project, calibrate: Callable[..., Outcome], toy: Path, brief: Path
) -> None:
    # a file that has a limit of the project's own check, too
    project.write("pytest.ini", "[pytest]\npythonpath = .\nqgate_checks = team:ROW\n")
    row = 'Check(name="team.size", unit="MB", bound="max", claim="It is small.")'
    project.write("team.py", f"from qgate import Check\nROW = {row}\n")
    project.write(
        "brief.yaml",
        f"{(project.directory / brief).read_text()}\nlimits: {{team.size: {{max: 1}}}}\n",
    )
    other = write_toy(toy.with_name("other.gguf"), Toy(scheme="F32", context=LONG, eos=3))
    options = ("--runtime", "fake", "--thresholds", brief, "--json", "kept/noise.json")
    for model in (toy, other, toy):
        assert calibrate(model, *options).code == 0

    seen = calibrate(other, *options)

    found = noises(seen, "kept/noise.json")
    assert [noise.original.id for noise in found] == ["original", "other"]
    assert found[0].created <= found[1].created
    assert "not measured, the reference knows none of the tasks" in seen.out
    assert found[1].all_flips is None
    assert set(found[1].left_out) == {"accuracy.own", "edge.math"}


def test_it_knows_the_scorers_of_the_projects_conftest(
    project: Project, calibrate: Callable[..., Outcome], toy: Path, brief: Path
) -> None:
    limits = (
        (project.directory / brief).read_text().replace("own.jsonl,", "own.jsonl, score: ours,")
    )
    project.write("scored.yaml", limits)
    project.write(
        "conftest.py",
        "qgate_scorers = {'ours': lambda answer, item: 0.5 + 0.1 * len(answer) % 0.5}\n",
    )

    run = calibrate(toy, "--runtime", "fake", "--thresholds", "scored.yaml")

    assert run.code == 0, run.text
    [found] = noises(run)
    assert found.left_out["accuracy.own"] == "accuracy.own: scores do not flip"
