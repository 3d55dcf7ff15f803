"""The reference is measured once and read ever after, and never trusted when it changed."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.errors import ArtifactError, RuntimeFailed
from qgate.reference.distributions import Reference, ReferenceStore, require_same_vocabulary
from qgate.reference.encoding import MAX_SELF_KL_NATS
from qgate.reference.texts import Text
from qgate.runtimes.host import Host, HostSettings
from tests.conftest import Toy, write_toy
from tests.support.references import SETTINGS, arrays, entries, make_plan, measure, serve

Toys = Callable[..., Path]
Planted = Callable[[str], str]

BOOK = Text(name="book", digest="sha256:1", documents=("It was a dark and stormy night. " * 40,))


@pytest.fixture
def model(toys: Toys) -> Path:
    return toys() / "original.gguf"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_the_first_run_measures_and_the_second_reads(store: Path, model: Path) -> None:
    plan = make_plan(model)

    first, asked_first = measure(store, plan)
    second, asked_second = measure(store, plan)

    assert asked_first == ["describe", "load", "sample", "score"]
    assert asked_second == ["describe"]
    assert (first.was_stored, second.was_stored) == (False, True)
    assert arrays(first) == arrays(second)
    for field in dataclasses.fields(Reference):
        is_array = isinstance(getattr(first, field.name), np.ndarray)
        if not is_array and field.name not in ("was_stored", "windows"):
            assert getattr(first, field.name) == getattr(second, field.name), field.name


def test_what_is_stored_is_what_the_toy_says(store: Path, model: Path) -> None:
    import gguf

    reference, _ = measure(store, make_plan(model, text=BOOK))
    embedding, output = (
        np.asarray(tensor.data, dtype=np.float64) for tensor in gguf.GGUFReader(model).tensors
    )

    ids = reference.windows.ids
    before, after = ids[:, 32:-1].reshape(-1), ids[:, 33:].reshape(-1)
    logits = embedding[before] @ output.T
    normalizers = np.log(np.exp(logits).sum(axis=1))
    nll = normalizers - logits[np.arange(len(after)), after]

    assert reference.nll_nats == pytest.approx(nll, abs=1e-5)
    assert reference.anchors == pytest.approx(normalizers[reference.compared], abs=1e-5)
    assert reference.tops.tolist() == logits[reference.compared].argmax(axis=1).tolist()
    assert reference.self_kl_nats < MAX_SELF_KL_NATS


@pytest.mark.parametrize(
    "name", ["entry.json", "ids.npy", "clusters.npy", "nll.npy", "kept.npy", "tops.npy"]
)
def test_a_changed_byte_has_it_measured_again(store: Path, model: Path, name: str) -> None:
    plan = make_plan(model)
    intact = arrays(measure(store, plan)[0])
    [entry] = entries(store)
    changed = bytearray((store / entry / name).read_bytes())
    changed[-8] ^= 1
    (store / entry / name).write_bytes(changed)

    again, asked = measure(store, plan)

    assert asked == ["describe", "load", "sample", "score"]
    assert arrays(again) == intact
    assert entries(store) == [entry]
    assert measure(store, plan)[1] == ["describe"]


CHANGES: dict[str, dict[str, Any]] = {
    "another text": {"text": BOOK},
    "another seed": {"settings": SETTINGS.model_copy(update={"seed": 1})},
    "another window": {"settings": SETTINGS.model_copy(update={"window_tokens": 32})},
    "other conversations": {"settings": SETTINGS.model_copy(update={"conversation_tokens": 32})},
    "more windows": {"settings": SETTINGS.model_copy(update={"windows": 7})},
    "all positions": {"settings": SETTINGS.model_copy(update={"positions": "all"})},
    "other weights": {"digest": "sha256:0"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_numbers_makes_another_entry(
    store: Path, model: Path, change: dict[str, Any]
) -> None:
    plan = make_plan(model)
    measure(store, plan)
    [first] = entries(store)

    _, asked = measure(store, dataclasses.replace(plan, **change))

    assert "score" in asked
    assert len(entries(store)) == 2
    assert first in entries(store)


def test_another_build_of_the_runtime_makes_another_entry(
    store: Path, model: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = planted("""
import dataclasses, os
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def describe(self):
        return dataclasses.replace(super().describe(), build=os.environ["QGATE_TEST_BUILD"])
""")
    for build, wanted in (("AVX2", 1), ("AVX512", 2), ("AVX2", 2)):
        monkeypatch.setenv("QGATE_TEST_BUILD", build)
        measure(store, make_plan(model), runtime)
        assert len(entries(store)) == wanted


def test_a_failed_measurement_leaves_nothing(store: Path, toys: Toys) -> None:
    path = write_toy(toys() / "original.gguf", Toy(scheme="F32", fault="segfault:score"))

    with pytest.raises(RuntimeFailed, match="SIGSEGV in score"):
        measure(store, make_plan(path))

    assert entries(store) == []


def test_a_run_that_is_killed_leaves_no_entry(
    store: Path, model: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = planted("""
import os, time
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def logits_of_windows(self, windows, first, *, with_hidden):
        parts = super().logits_of_windows(windows, first, with_hidden=with_hidden)
        for number, part in enumerate(parts):
            if number == 2 and "QGATE_TEST_SLOW" in os.environ:
                time.sleep(60)
            yield part
""")
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.support.references import make_plan, measure
measure(Path({str(store)!r}), make_plan(Path({str(model)!r})), {runtime!r})
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "QGATE_TEST_SLOW": "1"},
        stderr=subprocess.PIPE,
    ) as process:
        until = time.monotonic() + 20.0
        while not list(store.glob(".measuring-*/kept.npy")) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)

    assert [name.startswith(".measuring-") for name in entries(store)] == [True]
    _, asked = measure(store, make_plan(model), runtime)
    assert "score" in asked
    assert len([name for name in entries(store) if not name.startswith(".")]) == 1


def test_two_runs_at_once_both_succeed(store: Path, model: Path) -> None:
    both = threading.Barrier(2, timeout=20.0)
    settings = HostSettings(runtime="fake", stall_s=30.0)

    class Meeting(Host):
        def call(self, verb: str, request: object) -> Any:
            if verb == "score":
                both.wait()
            return super().call(verb, request)

    def run(_: int) -> Reference:
        plan = make_plan(model)
        with serve(plan, lambda: Meeting(settings)) as serving:
            return ReferenceStore(store).get_or_measure(plan, serving)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(run, range(2))

    assert arrays(one) == arrays(other)
    assert len(entries(store)) == 1
    assert measure(store, make_plan(model))[1] == ["describe"]


def test_a_store_named_by_a_relative_path_works(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    found, _ = measure(Path("here"), make_plan(model))

    assert Path(found.stored.array).parent.parent == tmp_path / "here"


def test_another_vocabulary_does_not_belong_to_it(store: Path, model: Path) -> None:
    found, _ = measure(store, make_plan(model))
    facts = dataclasses.replace(found.facts, n_vocab=65)

    require_same_vocabulary(found.artifact, found.facts, found)
    with pytest.raises(ArtifactError) as caught:
        require_same_vocabulary(found.artifact, facts, found)

    assert str(caught.value) == (
        "original: vocabulary differs from the reference's: got 65 tokens; expected 64."
        " Name the right reference with --qgate-reference"
    )


def test_the_key_is_of_contents_not_of_names(store: Path, model: Path, tmp_path: Path) -> None:
    measure(store, make_plan(model))
    moved = tmp_path / "elsewhere" / "renamed.gguf"
    moved.parent.mkdir()
    moved.write_bytes(model.read_bytes())

    found, asked = measure(store, make_plan(moved))

    assert asked == ["describe"]
    assert found.artifact.path == moved
    assert found.stored.matrix is not None
    assert found.stored.matrix.path == str(moved)
