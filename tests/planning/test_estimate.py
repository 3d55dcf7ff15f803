"""How long a run will take: by what is asked, the size of the model and the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qgate.planning.estimate import Ask, Size, asks_of, estimate_run, seconds_of
from qgate.planning.machine import MachineSpeed, measure_speed
from qgate.records import Artifact
from qgate.thresholds import Thresholds

SPEED = MachineSpeed(flops=100e9, bytes_per_s=10e9)
SMALL, LARGE = Size(weights=1e8, bytes=2e8), Size(weights=1e9, bytes=2e9)
ASKS = {
    "perplexity": Ask(read=1000),
    "reference's text": Ask(read=1000, written=1000),
    "edge.repetition": Ask(written=1000),
    "latency": Ask(read=1000, alone=100),
}


def model(name: str, **facts: Any) -> Artifact:
    values: dict[str, Any] = {"scheme": "F16", "size_bytes": 200_000_000, "is_quantized": False}
    path = Path(f"{name}.gguf")
    return Artifact(id=name, path=path, format="gguf", files=(path,), **{**values, **facts})


@pytest.mark.parametrize("kind", ["read", "written", "alone"])
def test_ten_times_the_model_or_the_tokens_take_about_ten_times_as_long(kind: str) -> None:
    once = seconds_of(Ask(**{kind: 100}), SMALL, SPEED)

    assert seconds_of(Ask(**{kind: 1000}), SMALL, SPEED) == pytest.approx(10 * once)
    assert seconds_of(Ask(**{kind: 100}), LARGE, SPEED) == pytest.approx(10 * once, rel=0.2)


def test_a_token_that_waits_for_the_last_costs_more_than_one_that_is_read() -> None:
    read, written, alone = (
        seconds_of(Ask(**{kind: 100}), SMALL, SPEED) for kind in ("read", "written", "alone")
    )

    assert read < written < alone


def test_only_what_was_picked_is_counted() -> None:
    artifact, reference = model("q8", scheme="Q8_0", size_bytes=100_000_000), model("f16")

    expected = estimate_run([artifact], reference, {"q8": ["edge", "integrity"]}, ASKS, SPEED)

    assert set(expected) == {
        ("q8", "load"),
        ("q8", "edge.repetition"),
        ("reference f16", "load"),
        ("reference f16", "edge.repetition"),
    }


def test_the_reference_writes_the_text_and_each_artifact_only_reads_it() -> None:
    artifacts = [model("q8", size_bytes=100_000_000), model("q4", size_bytes=50_000_000)]
    areas = {one.id: ["perplexity", "divergence"] for one in artifacts}

    expected = estimate_run(artifacts, model("f16"), areas, ASKS, SPEED)

    assert expected["reference f16", "perplexity"] > expected["q8", "perplexity"]
    assert {phase for _, phase in expected} == {"load", "perplexity"}


def test_windows_are_no_longer_than_the_model_can() -> None:
    asks = asks_of(Thresholds(), (), context_tokens=256)

    assert asks["perplexity"].read == Thresholds().text.windows * 256
    assert asks["memory"].read >= 256


def test_a_text_that_is_there_has_not_to_be_written() -> None:
    there = asks_of(Thresholds(), (), context_tokens=256, writes_text=False)

    assert there["reference's text"] == Ask(read=there["perplexity"].read)


def test_a_machine_has_a_speed() -> None:
    speed = measure_speed()

    assert speed.flops > 1e8
    assert speed.bytes_per_s > 1e8
