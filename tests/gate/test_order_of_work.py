"""Memory is measured before anything else, latency next."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.measure.memory import nvml as device_module
from tests.conftest import Toy
from tests.gate.conftest import Begin, Log, Toys, fail, linux_only

if TYPE_CHECKING:
    from collections.abc import Callable


@linux_only
def test_memory_is_measured_before_anything_else_and_latency_next(
    toys: Toys, begin: Begin, log: Log, telling: Callable[..., str]
) -> None:
    with begin(toys(a=Toy()), runtime=telling()) as run:
        run.measurer.begin(
            run.servings["a"], frozenset({"latency", "memory", "edge", "perplexity"})
        )
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
        run.measurer.begin(serving, frozenset({"latency", "memory"}))
        log.clear()
        memory = run.measurer.memory(serving)
        run.measurer.latency(serving)
        assert log.asked == []
        assert memory.estimate("memory.weights", 0.95, {}).value == 1.0

        run.measurer.begin(run.servings["b"], frozenset({"memory"}))
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
        run.measurer.begin(run.servings["a"], frozenset(areas))

    assert set(log.verbs("a")) == verbs


def test_what_fails_first_fails_again_where_somebody_hears_of_it(
    toys: Toys, begin: Begin, log: Log
) -> None:
    with begin(toys(a=Toy())) as run:
        run.measurer.begin(run.servings["a"], frozenset({"latency", "memory"}))
        log.clear()
        kind, message = fail(run.measurer.memory, run.servings["a"])
        run.measurer.latency(run.servings["a"])

    assert kind is MeasurementError
    assert message == (
        "reference original: runtime 'fake' does not report what it allocates;"
        " name a runtime that holds the model itself"
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
            run.measurer.begin(run.servings[name], frozenset({"latency", "memory"}))
            assert log.alive == {"original", name}
            run.measurer.memory(run.servings[name])
            run.servings[name].close()

    assert beside == [set(), set(), set()]  # the reference, a, b


@linux_only
def test_on_a_gpu_the_reference_in_another_runtime_makes_room(
    toys: Toys, begin: Begin, log: Log, telling: Callable[..., str], beside: list[set[str]]
) -> None:
    runtime = telling(ON_A_GPU)
    with begin(toys(a=Toy()), runtime=runtime) as run:
        references: Any = run.measurer.children.references
        run.measurer.children.serve_reference(runtime).load()
        references["another"] = references.pop(runtime)
        assert log.alive == {"original"}

        run.measurer.memory(run.servings["a"])

    assert beside == [set(), set()]  # the reference, a
