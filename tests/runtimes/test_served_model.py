"""One model in its one child: started when asked, loaded once, and every second booked once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.confinement.processors import usable_processors
from qgate.errors import ArtifactError, MeasurementError, QGateError, RuntimeFailed
from qgate.reference.store import Store
from qgate.runtimes import served_model as serving_module
from qgate.runtimes.base import LoadSettings
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import Texts, TimedRequest
from qgate.runtimes.recall import Identity, Recall
from qgate.runtimes.served_model import LoadOptions, ServedModel
from qgate.runtimes.verbs import ENCODE, TIME
from tests.conftest import Toy
from tests.support.references import Recording, entries

if TYPE_CHECKING:
    from collections.abc import Iterator

Toys = Callable[..., Path]


class Starts:
    """Starts children and keeps what each was asked."""

    def __init__(self, runtime: str = "fake") -> None:
        self.asked: list[list[str]] = []
        self.settings = HostSettings(runtime=runtime, stall_s=30.0)

    def __call__(self) -> Host:
        self.asked.append([])
        return Recording(self.settings, self.asked[-1])


def serve(path: Path, start: Starts, **settings: Any) -> contextlib.closing[ServedModel]:
    [artifact] = discover([path])
    return contextlib.closing(ServedModel(artifact, start, LoadOptions(**settings)))


@pytest.fixture
def start() -> Starts:
    return Starts()


@pytest.fixture
def toy(toys: Toys) -> Path:
    return toys(toy=Toy()) / "toy.gguf"


def test_a_child_starts_when_it_is_first_asked_and_no_sooner(toy: Path, start: Starts) -> None:
    with serve(toy, start) as serving:
        serving.close()
        assert start.asked == []
        assert serving.describe() == serving.describe()
        assert serving.describe().name == "fake"
        assert start.asked == [["describe"]]
        serving.close()
        serving.close()


def test_a_model_is_loaded_once_however_often_it_is_asked_for(toy: Path, start: Starts) -> None:
    with serve(toy, start) as serving:
        first, second = serving.load(), serving.load()
        host = serving.host

        assert first is second
        assert first.n_vocab == 64
        assert serving.host is host
        assert start.asked == [["load"]]


def test_a_description_loads_no_model(toy: Path, start: Starts) -> None:
    with serve(toy, start) as serving:
        serving.describe()
        serving.load()
        serving.describe()

        assert start.asked == [["describe", "load"]]


def test_a_model_is_loaded_as_the_run_was_told(
    toy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[object] = []

    class Listening(Host):
        def call(self, verb: str, request: object) -> Any:
            told.append(request)
            return super().call(verb, request)

    monkeypatch.chdir(toy.parent)
    [artifact] = discover([Path("toy.gguf")])
    loading = LoadOptions(window_tokens=128, context_tokens=96, threads=3)
    artifact = dataclasses.replace(artifact, quantize={"method": "bitsandbytes"}, runs_code=True)
    serving = ServedModel(artifact, lambda: Listening(HostSettings(runtime="fake")), loading)
    with contextlib.closing(serving):
        serving.load()

    # the child works elsewhere
    assert told == [
        LoadSettings(
            path=str(toy),
            window_tokens=128,
            context_tokens=96,
            threads=3,
            processors=usable_processors(),
            quantize={"method": "bitsandbytes"},
            options={},
            trust_remote_code=True,
        )
    ]


@pytest.mark.parametrize("fault", ["unavailable:load", "segfault:load"])
def test_a_model_that_cannot_be_loaded_is_tried_once(toys: Toys, fault: str, start: Starts) -> None:
    path = toys(bad=Toy(fault=fault)) / "bad.gguf"
    messages = []

    with serve(path, start) as serving:
        for _ in range(3):
            with pytest.raises(QGateError) as caught:
                serving.load()
            messages.append(str(caught.value))

    assert len(set(messages)) == 1
    assert start.asked == [["load"]]


def test_a_file_that_is_refused_is_refused_again(tmp_path: Path, start: Starts) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "odd.gguf", "llama")
    writer.add_tensor("nobody_knows.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with serve(tmp_path / "odd.gguf", start) as serving:
        for _ in range(2):
            with pytest.raises(ArtifactError, match=r"^the fake runtime needs token_embd"):
                serving.load()
    assert start.asked == [["load"]]


def test_a_child_that_was_closed_is_gone_and_the_next_begins_anew(toy: Path, start: Starts) -> None:
    with serve(toy, start) as serving:
        serving.load()
        pid = serving.host.pid
        serving.close()
        assert not Path(f"/proc/{pid}/exe").exists()

        serving.load()

        assert serving.host.pid != pid
        assert start.asked == [["load"], ["load"]]


def test_a_child_that_is_gone_is_not_started_again_behind_anyones_back(
    toys: Toys, start: Starts
) -> None:
    path = toys(bad=Toy(fault="segfault:score")) / "bad.gguf"

    with serve(path, start) as serving:
        serving.load()
        for _ in range(2):
            with pytest.raises(RuntimeFailed, match="SIGSEGV"):
                TIME.ask(serving.host, TimedRequest(ids=np.arange(3), count=2))

    assert len(start.asked) == 1


def test_ids_outside_the_vocabulary_are_refused_and_not_kept_by_the_call_that_loads(
    toy: Path, start: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host was there before the model: only its load tells how many tokens there are."""

    def call(host: Host, verb: str, request: object) -> Any:
        found = ask(host, verb, request)
        return [np.array([64], dtype=np.int32)] if verb == "encode" else found

    ask = Recording.call
    monkeypatch.setattr(Recording, "call", call)
    identity = Identity(digest=lambda: "sha256:1", require_unchanged=lambda: None, loaded=dict)
    recall = Recall(Store(tmp_path / "store"), identity)
    [artifact] = discover([toy])
    with contextlib.closing(ServedModel(artifact, start, recall=recall)) as serving:
        host = serving.host
        with pytest.raises(MeasurementError, match="impossible answer to encode"):
            ENCODE.ask(host, Texts(texts=("two",), begins=True))

    assert "load" in start.asked[0]
    assert entries(tmp_path / "store") == []


# --- time -----------------------------------------------------------------------------------------


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(serving_module, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


@pytest.fixture
def idle(toy: Path, start: Starts) -> Iterator[ServedModel]:
    """A serving that nobody asks for a child."""
    with serve(toy, start) as serving:
        yield serving
    assert start.asked == []


def test_time_is_booked_by_phase_and_adds_up(idle: ServedModel, clock: Clock) -> None:
    for name, seconds in (("perplexity", 3.0), ("memory", 2.0), ("perplexity", 4.0)):
        with idle.phase(name):
            clock.wait(seconds)
        clock.wait(50.0)  # nobody's

    assert idle.seconds == {"perplexity": 7.0, "memory": 2.0}


def test_a_phase_within_another_is_not_counted_twice(idle: ServedModel, clock: Clock) -> None:
    began_s = clock.now_s
    with idle.phase("outer"):
        clock.wait(1.0)
        with idle.phase("inner"):
            clock.wait(2.0)
            with idle.phase("innermost"):
                clock.wait(4.0)
            clock.wait(8.0)
        with idle.phase("inner"):
            clock.wait(16.0)
        clock.wait(32.0)

    assert idle.seconds == {"outer": 33.0, "inner": 26.0, "innermost": 4.0}
    assert sum(idle.seconds.values()) == clock.now_s - began_s


def test_a_phase_within_itself_is_not_counted_twice(idle: ServedModel, clock: Clock) -> None:
    with idle.phase("edge"):
        clock.wait(1.0)
        with idle.phase("edge"):
            clock.wait(2.0)

    assert idle.seconds == {"edge": 3.0}


def test_time_that_ended_in_an_error_is_booked(idle: ServedModel, clock: Clock) -> None:
    def crash() -> None:
        with idle.phase("outer"):
            clock.wait(1.0)
            with idle.phase("inner"):
                clock.wait(2.0)
                raise RuntimeFailed("it crashed")

    with pytest.raises(RuntimeFailed):
        crash()

    assert idle.seconds == {"outer": 1.0, "inner": 2.0}


def test_loading_within_a_phase_is_loading(toys: Toys, start: Starts) -> None:
    path = toys(slow=Toy()) / "slow.gguf"
    began_s = time.monotonic()

    with serve(path, start) as serving, serving.phase("perplexity"):
        serving.load()
        time.sleep(0.05)
    took_s = time.monotonic() - began_s

    assert serving.seconds["load"] > 0.0
    assert 0.05 <= serving.seconds["perplexity"] < took_s
    assert sum(serving.seconds.values()) <= took_s
