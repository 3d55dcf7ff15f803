"""Nothing is asked twice, nobody pays for another's failure, and memory is measured first."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.bench import Bench
from qgate.children import Setting
from qgate.errors import ArtifactError, MeasurementError, NotApplicable, QGateError, RuntimeFailed
from qgate.measure import device as device_module
from qgate.measure.edge.boundaries import Boundaries, BoundaryFindings
from qgate.measure.edge.free_running import FreeRunning
from qgate.measure.edge.languages import Multilingual
from qgate.measure.items import read_items
from qgate.measure.tasks import Task
from qgate.runtimes import host as host_module
from qgate.runtimes.host import Host
from qgate.thresholds import LatencySettings, MemorySettings, Thresholds
from tests.conftest import Toy, write_toy
from tests.measuring import SETTINGS

if TYPE_CHECKING:
    from qgate.measure.probes import Probe
    from qgate.records import Artifact
    from qgate.serving import Serving

Toys = Callable[..., Path]
Planted = Callable[[str], str]

PROBES: tuple[Probe, ...] = (
    Multilingual(documents={"en": ("Anna went home.", "So Ida slept."), "de": ("Ja!", "Nein.")}),
    FreeRunning(prompts=tuple(f"prompt {number}" for number in range(20)), answer_tokens=32),
    Boundaries(fillers=("Anna went to the park.",), most_tokens=64),
)
CHECKS = ("edge.multilingual", "edge.repetition", "edge.termination", "edge.empty_prompt")
THRESHOLDS = Thresholds(
    text=SETTINGS,
    latency=LatencySettings(prompt_tokens=16, output_tokens=8, pairs=6, warmup=1),
    memory=MemorySettings(context_tokens=64, batches=30),
)


@dataclass
class Log:
    """What every child of a run was asked, by the model that it holds."""

    asked: list[tuple[str, str]] = field(default_factory=list)
    started: int = 0
    alive: set[str] = field(default_factory=set)

    def verbs(self, model: str) -> list[str]:
        return [verb for name, verb in self.asked if name == model]

    def clear(self) -> None:
        self.asked.clear()
        self.started = 0


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()

    class Watched(Host):
        model = ""

        def __init__(self, *arguments: Any) -> None:
            found.started += 1
            super().__init__(*arguments)

        def call(self, verb: str, **args: Any) -> dict[str, Any]:
            if verb == "load":
                self.model = Path(args["path"]).stem
                found.alive.add(self.model)
            found.asked.append((self.model, verb))
            return super().call(verb, **args)

        def close(self) -> None:
            found.alive.discard(self.model)
            super().close()

    monkeypatch.setattr(host_module, "Host", Watched)
    return found


@dataclass(kw_only=True)
class Run:
    """A run over a directory of models."""

    bench: Bench
    servings: dict[str, Serving]


Begin = Callable[..., contextlib.AbstractContextManager[Run]]


@pytest.fixture
def begin(tmp_path: Path, log: Log) -> Begin:
    """begin(models) -> a run, closed at the end of the block."""

    @contextlib.contextmanager
    def make(
        models: Path, *, runtime: str = "fake", probes: tuple[Probe, ...] = PROBES, **more: Any
    ) -> Any:
        found = {artifact.id: artifact for artifact in discover([models])}
        original = found.pop("original", None)
        setting = Setting(
            thresholds=THRESHOLDS,
            original=original,
            runtime=runtime,
            directory=tmp_path,
            probes=lambda: probes,
            progress=lambda _: contextlib.nullcontext(lambda *_: None),
            **more,
        )
        bench = Bench(setting)
        servings = {name: bench.children.serve(artifact) for name, artifact in found.items()}
        try:
            yield Run(bench=bench, servings=servings)
        finally:
            for serving in servings.values():
                serving.close()
            bench.children.close()

    return make


def ask_everything(run: Run, name: str) -> list[object]:
    """Every kind of measurement that the fake runtime gives."""
    bench, serving = run.bench, run.servings[name]
    return [
        bench.reference(serving),
        bench.divergence(serving),
        *(bench.probe(serving, check) for check in CHECKS),
        bench.latency(serving),
    ]


# --- nothing is asked twice -----------------------------------------------------------------------


def test_nothing_starts_before_something_is_asked(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy())) as run:
        assert not run.bench.children.originals

    assert log.started == 0


def test_asking_again_costs_nothing_and_says_the_same(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy())) as run:
        first = ask_everything(run, "a")
        log.clear()
        again = ask_everything(run, "a")

    assert all(one is other for one, other in zip(first, again, strict=True))
    assert log.asked == []


def test_rows_of_one_probe_are_one_measurement(toys: Toys, begin: Begin) -> None:
    with begin(toys(a=Toy())) as run:
        one, other = (
            run.bench.probe(run.servings["a"], check)
            for check in ("edge.repetition", "edge.answer_length")
        )

    assert one is other


def test_an_artifact_and_the_original_have_one_child_each_and_load_once(
    toys: Toys, begin: Begin, log: Log
) -> None:
    with begin(toys(a=Toy())) as run:
        ask_everything(run, "a")

    assert log.started == 2
    assert log.verbs("a").count("load") == 1
    # the store asks the child itself for its load; the child knows that it has the model
    assert log.verbs("original").count("load") <= 2


def test_the_next_artifact_asks_the_original_nothing_but_its_times(
    toys: Toys, begin: Begin, log: Log
) -> None:
    with begin(toys(a=Toy(), b=Toy(noise=0.2))) as run:
        ask_everything(run, "a")
        log.clear()
        ask_everything(run, "b")

    assert set(log.verbs("original")) == {"time"}
    assert log.started == 1


def test_the_next_run_does_not_even_load_the_original(toys: Toys, begin: Begin, log: Log) -> None:
    models = toys(a=Toy())
    with begin(models) as run:
        ask_everything(run, "a")
    log.clear()
    with begin(models) as run:
        bench, serving = run.bench, run.servings["a"]
        bench.divergence(serving)
        for check in CHECKS:
            bench.probe(serving, check)

    assert log.verbs("original") == []
    assert {verb for model, verb in log.asked if model == ""} == {"describe"}


def test_both_sides_do_the_same_work(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy(), b=Toy())) as run:
        for name in "ab":
            for check in CHECKS:
                run.bench.probe(run.servings[name], check)

    work = ["score_spans", "answer", "score_spans", "answer"]
    assert [verb for verb in log.verbs("original") if verb in work] == work
    assert [verb for verb in log.verbs("b") if verb != "load"] == work


def test_an_equal_artifact_shows_no_damage(toys: Toys, begin: Begin) -> None:
    with begin(toys(same=Toy())) as run:
        serving = run.servings["same"]
        for check in ("edge.multilingual", "edge.repetition", "edge.termination"):
            found: Any = run.bench.probe(serving, check)
            estimate = found.estimate(check, 0.95, {})
            members = estimate.values() if isinstance(estimate, dict) else [estimate]
            assert {one.value for one in members} <= {0.0, 1.0}
        boundaries = run.bench.probe(serving, "edge.empty_prompt")
        assert isinstance(boundaries, BoundaryFindings)
        assert boundaries.finding("edge.context_limit").holds


# --- errors are remembered, and stay where they are -----------------------------------------------

CALLS: dict[str, Callable[[Bench, Serving], object]] = {
    "divergence": lambda bench, serving: bench.divergence(serving),
    "probe": lambda bench, serving: bench.probe(serving, "edge.multilingual"),
    "latency": lambda bench, serving: bench.latency(serving),
    "memory": lambda bench, serving: bench.memory(serving),
}


def fail(call: Callable[..., object], *arguments: object) -> tuple[type[QGateError], str]:
    with pytest.raises(QGateError) as caught:
        call(*arguments)
    return type(caught.value), str(caught.value)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fault", ["segfault:load", "segfault:score", "unavailable:load"])
def test_an_error_is_remembered_and_repeated(
    toys: Toys, begin: Begin, log: Log, name: str, fault: str
) -> None:
    with begin(toys(bad=Toy(fault=fault))) as run:
        bench, serving = run.bench, run.servings["bad"]
        first = fail(CALLS[name], bench, serving)
        log.clear()
        again = fail(CALLS[name], bench, serving)

    assert first == again
    assert log.asked == []
    assert log.started == 0


def test_a_broken_original_is_every_artifacts_error_and_tried_once(
    toys: Toys, begin: Begin, log: Log
) -> None:
    models = toys(a=Toy(), b=Toy())
    write_toy(models / "original.gguf", Toy(scheme="F32", fault="segfault:score"))

    with begin(models) as run:
        found = {
            name: [fail(CALLS[what], run.bench, serving) for what in ("divergence", "probe")]
            for name, serving in run.servings.items()
        }

    assert found["a"] == found["b"]
    for kind, message in found["a"]:
        assert kind is RuntimeFailed
        assert message.startswith("reference original: runtime crashed: SIGSEGV in ")
    assert log.verbs("original").count("score") == 1


def test_an_artifact_that_crashed_spoils_nothing_for_the_next(toys: Toys, begin: Begin) -> None:
    with begin(toys(a=Toy(fault="segfault:score"), b=Toy(noise=0.1))) as run:
        bench = run.bench
        for call in (CALLS["divergence"], CALLS["probe"], CALLS["latency"]):
            kind, message = fail(call, bench, run.servings["a"])
            assert kind is RuntimeFailed
            assert "SIGSEGV" in message
        assert len(ask_everything(run, "b")) == 3 + len(CHECKS)


def test_artifacts_may_be_called_what_they_like(toys: Toys, begin: Begin) -> None:
    names = ("work", "outcome", "reference", "footprint", "memory", "latency")

    with begin(toys(**dict.fromkeys(names, Toy()))) as run:
        kinds = {tuple(type(one).__name__ for one in ask_everything(run, name)) for name in names}

    assert len(kinds) == 1


def test_without_an_original_every_comparison_says_how_to_name_one(
    toys: Toys, begin: Begin, log: Log
) -> None:
    models = toys(a=Toy())
    (models / "original.gguf").unlink()

    with begin(models) as run:
        lines = {fail(call, run.bench, run.servings["a"]) for call in CALLS.values()}
        assert run.bench.subject(run.servings["a"].artifact)["reference"] == {}

    assert lines == {
        (
            ArtifactError,
            "no reference: no unquantized artifact in or beside the given paths."
            " Name one with --qgate-reference PATH",
        )
    }
    assert log.verbs("a") == []


@pytest.mark.parametrize("name", ["divergence", "probe"])
def test_another_tokenizer_is_refused_before_it_is_asked_anything(
    toys: Toys, begin: Begin, log: Log, name: str
) -> None:
    with begin(toys(other=Toy(tokens_from="u"))) as run:
        kind, message = fail(CALLS[name], run.bench, run.servings["other"])

    assert kind is ArtifactError
    assert message.startswith("other: tokenizer differs from the reference's: ")
    assert message.endswith(
        "Name the right original with --qgate-reference, or convert the model again"
    )
    assert log.verbs("other") == []


@pytest.mark.parametrize(("is_shipped", "kind"), [(True, NotApplicable), (False, MeasurementError)])
def test_a_task_that_the_original_does_not_know_is_told_each_time(
    toys: Toys, begin: Begin, log: Log, tmp_path: Path, is_shipped: bool, kind: type[QGateError]
) -> None:
    items = tmp_path / "items.jsonl"
    rows = [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(20)]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Task(check="accuracy.sums", file=read_items(items, "items.jsonl"), is_shipped=is_shipped)

    with begin(toys(a=Toy()), probes=(task,)) as run:
        first, again = (fail(run.bench.probe, run.servings["a"], "accuracy.sums") for _ in range(2))

    assert first == again
    assert first[0] is kind
    assert log.verbs("original").count("answer") == log.verbs("a").count("answer") == 1


# --- what comes first -----------------------------------------------------------------------------

TELLING = """
import sys
from qgate.runtimes.base import Buffers
from qgate.runtimes.fake import Fake
class Planted(Fake):
    def fill_context(self, tokens):
        return Buffers(
            weights_bytes=8192, kv_cache_bytes=512 * tokens, compute_bytes=4096,
            context_tokens=tokens,
        )
"""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def telling(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """telling(more) -> the name of a fake runtime that says what it allocates."""

    def make(more: str = "") -> str:
        name = planted(TELLING + more)
        monkeypatch.syspath_prepend(tmp_path / "plugins")  # this process chooses runtimes too
        return name

    return make


@linux_only
def test_memory_is_measured_before_anything_else_and_latency_next(
    toys: Toys, begin: Begin, log: Log, telling: Callable[..., str]
) -> None:
    with begin(toys(a=Toy()), runtime=telling()) as run:
        run.bench.begin(run.servings["a"], frozenset({"latency", "memory", "edge", "perplexity"}))
        verbs = log.verbs("a")

    asked = list(dict.fromkeys(verb for verb in verbs if verb not in ("load", "describe")))
    assert asked == ["fill_context", "repeat", "time"]
    assert log.verbs("original").index("fill_context") < log.verbs("original").index("time")


@linux_only
def test_what_came_first_is_not_measured_again(
    toys: Toys, begin: Begin, log: Log, telling: Callable[..., str]
) -> None:
    with begin(toys(a=Toy(), b=Toy()), runtime=telling()) as run:
        serving = run.servings["a"]
        run.bench.begin(serving, frozenset({"latency", "memory"}))
        log.clear()
        memory = run.bench.memory(serving)
        run.bench.latency(serving)
        assert log.asked == []
        assert memory.estimate("memory.weights", 0.95, {}).value == 1.0

        run.bench.begin(run.servings["b"], frozenset({"memory"}))
        assert "fill_context" not in log.verbs("original")


@pytest.mark.parametrize(
    ("areas", "verbs"),
    [
        ({"latency"}, {"load", "time"}),
        ({"edge", "perplexity", "accuracy", "integrity"}, set()),
        (set(), set()),
    ],
)
def test_only_what_was_picked_is_measured(
    toys: Toys, begin: Begin, log: Log, areas: set[str], verbs: set[str]
) -> None:
    with begin(toys(a=Toy())) as run:
        run.bench.begin(run.servings["a"], frozenset(areas))

    assert set(log.verbs("a")) == verbs


def test_what_fails_first_fails_again_where_somebody_hears_of_it(
    toys: Toys, begin: Begin, log: Log
) -> None:
    with begin(toys(a=Toy())) as run:
        run.bench.begin(run.servings["a"], frozenset({"latency", "memory"}))
        log.clear()
        kind, message = fail(run.bench.memory, run.servings["a"])
        run.bench.latency(run.servings["a"])

    assert kind is MeasurementError
    assert message == (
        "reference original: runtime 'fake' allocates nothing that could be measured"
    )
    assert log.asked == []


ON_A_GPU = """
    def describe(self):
        import dataclasses
        return dataclasses.replace(super().describe(), device="gpu")
"""


@pytest.fixture
def beside(log: Log, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Which children were there whenever a GPU was looked at before the next one starts."""
    found: list[set[str]] = []

    class Meter:
        """Stands in for NVML."""

        before_bytes = 0

        def __init__(self, _: object) -> None:
            found.append(set(log.alive))

        def watch(self) -> contextlib.AbstractContextManager[device_module.Peak]:
            return contextlib.nullcontext(device_module.Peak(used_bytes=2**20))

    monkeypatch.setattr(device_module, "DeviceMeter", Meter)
    return found


@linux_only
def test_on_a_gpu_each_is_alone_while_its_memory_is_measured(
    toys: Toys, begin: Begin, log: Log, telling: Callable[..., str], beside: list[set[str]]
) -> None:
    with begin(toys(a=Toy(), b=Toy()), runtime=telling(ON_A_GPU)) as run:
        for name in "ab":
            run.bench.begin(run.servings[name], frozenset({"latency", "memory"}))
            assert log.alive == {"original", name}
            run.bench.memory(run.servings[name])
            run.servings[name].close()

    assert beside == [set(), set(), set()]  # the original, a, b


@linux_only
def test_on_a_gpu_the_original_in_another_runtime_makes_room(
    toys: Toys, begin: Begin, log: Log, telling: Callable[..., str], beside: list[set[str]]
) -> None:
    runtime = telling(ON_A_GPU)
    with begin(toys(a=Toy()), runtime=runtime) as run:
        originals: Any = run.bench.children.originals
        run.bench.children.serve_original(runtime).load()
        originals["another"] = originals.pop(runtime)
        assert log.alive == {"original"}

        run.bench.memory(run.servings["a"])

    assert beside == [set(), set()]  # the original, a


# --- what the report tells ------------------------------------------------------------------------


def test_before_anything_is_asked_the_original_is_not_told_of(toys: Toys, begin: Begin) -> None:
    models = toys(a=Toy())
    with begin(models) as run:
        artifact = run.servings["a"].artifact
        subject = run.bench.subject(artifact)

    assert subject["digest"].startswith("sha256:")
    assert subject["runtime"]["name"] == "fake"
    assert subject["measured"] == {}
    assert subject["reference"] == {}


@linux_only
def test_a_subject_has_both_sides_numbers_and_where_time_went(
    toys: Toys, begin: Begin, telling: Callable[..., str]
) -> None:
    with begin(toys(a=Toy(noise=0.1)), runtime=telling()) as run:
        run.bench.begin(run.servings["a"], frozenset({"latency", "memory"}))
        ask_everything(run, "a")
        subject = run.bench.subject(run.servings["a"].artifact)

    assert json.loads(json.dumps(subject)) == subject
    own, reference = subject["measured"], subject["reference"]
    theirs = reference["measured"]
    for name in ("ttft_ms", "itl_ms", "output_tps", "peak_memory_bytes", "weights_bytes"):
        assert own[name] > 0
        assert theirs[name] > 0
    assert own["scored_tokens"] == 6 * 31
    phases = {"load", "memory", "perplexity", *(probe.checks[0] for probe in PROBES)}
    for measured in (own, theirs):
        assert {name for name in measured if name.startswith("time.")} >= {
            f"time.{phase}_s" for phase in phases
        }
    assert "time.latency_s" in own
    assert reference["id"] == "original"
    assert reference["digest"] != subject["digest"]
    assert reference["perplexity"]["n"] == 6 * 31
    assert reference["store"]["was_stored"] is False


def test_an_original_that_could_not_be_measured_is_told_of_without_numbers(
    toys: Toys, begin: Begin
) -> None:
    models = toys(a=Toy())
    write_toy(models / "original.gguf", Toy(scheme="F32", fault="nan:score"))

    with begin(models) as run:
        fail(run.bench.divergence, run.servings["a"])
        reference = run.bench.subject(run.servings["a"].artifact)["reference"]

    assert reference["id"] == "original"
    assert "perplexity" not in reference
    assert "ttft_ms" not in reference["measured"]


def test_a_files_digest_is_read_once(
    toys: Toys, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qgate import artifacts

    read: list[str] = []
    digest = artifacts.digest

    def note(artifact: Artifact) -> str:
        read.append(artifact.id)
        return digest(artifact)

    monkeypatch.setattr(artifacts, "digest", note)
    with begin(toys(a=Toy())) as run:
        for _ in range(3):
            ask_everything(run, "a")
            run.bench.subject(run.servings["a"].artifact)

    assert sorted(read) == ["a", "original"]


def test_the_originals_child_ends_with_the_run(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy())) as run:
        run.bench.divergence(run.servings["a"])
        original = run.bench.children.originals["fake"]
        assert original is not None
        pid = original.host.pid
        assert log.alive == {"a", "original"}

    assert not Path(f"/proc/{pid}/exe").exists()
    assert log.alive == set()
