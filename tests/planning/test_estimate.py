"""How long a run will take: by what is asked, the size of the model and the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from qgate.planning.estimate import Ask, Size, asks_of, estimate_run, seconds_of
from qgate.planning.machine import (
    MachineSpeed,
    Multiplying,
    measure_numpy,
    measure_python,
    measure_script,
)
from qgate.records import Artifact
from qgate.thresholds import Thresholds

PRODUCTS = Multiplying(read_s=1e-11, together_s=2e-11, alone_s=1e-10, alone_packed_s=5e-11)
SPEED = MachineSpeed(products=PRODUCTS, python_s=0.005)
LLAMA_CPP = "qgate.runtimes.llama_cpp.speed"
SMALL, LARGE = Size(weights=1e8, bytes=2e8), Size(weights=1e9, bytes=2e9)
ASKS = {
    "perplexity": Ask(scored=1000),
    "reference's perplexity": Ask(scored=1000, written=1000),
    "edge.repetition": Ask(written=1000),
    "latency": Ask(read=1000, alone=100),
}


def model(name: str, **facts: Any) -> Artifact:
    values: dict[str, Any] = {"scheme": "F16", "size_bytes": 200_000_000, "is_quantized": False}
    path = Path(f"{name}.gguf")
    return Artifact(id=name, path=path, format="gguf", files=(path,), **{**values, **facts})


@pytest.mark.parametrize("kind", ["read", "written", "alone"])
def test_ten_times_the_model_or_the_tokens_take_about_ten_times_as_long(kind: str) -> None:
    once = seconds_of(Ask(**{kind: 100}), SMALL, PRODUCTS)

    assert seconds_of(Ask(**{kind: 1000}), SMALL, PRODUCTS) == pytest.approx(10 * once)
    assert seconds_of(Ask(**{kind: 100}), LARGE, PRODUCTS) == pytest.approx(10 * once, rel=0.2)


def test_a_token_that_waits_for_the_last_costs_more_than_one_that_is_read() -> None:
    read, written, alone = (
        seconds_of(Ask(**{kind: 100}), SMALL, PRODUCTS) for kind in ("read", "written", "alone")
    )

    assert read < written < alone


def test_only_what_was_picked_is_counted() -> None:
    artifact, reference = model("q8", scheme="Q8_0", size_bytes=100_000_000), model("f16")

    expected = estimate_run(
        [artifact], reference, {"q8": ["edge", "integrity"]}, ASKS, {"q8": SPEED}
    )

    assert set(expected) == {
        ("q8", "load"),
        ("q8", "edge.repetition"),
        ("reference f16", "load"),
        ("reference f16", "edge.repetition"),
        ("the run", "report"),
    }


def test_the_reference_writes_the_text_and_each_artifact_only_reads_it() -> None:
    artifacts = [model("q8", size_bytes=100_000_000), model("q4", size_bytes=50_000_000)]
    areas = {one.id: ["perplexity", "divergence"] for one in artifacts}

    expected = estimate_run(artifacts, model("f16"), areas, ASKS, dict.fromkeys(areas, SPEED))

    assert expected["reference f16", "perplexity"] > expected["q8", "perplexity"]
    assert {phase for _, phase in expected} == {"load", "perplexity", "report"}


def test_windows_are_no_longer_than_the_model_can() -> None:
    asks = asks_of(Thresholds(), (), context_tokens=256)

    assert asks["perplexity"].scored == Thresholds().text.windows * 256
    assert asks["memory"].read >= 256


def test_a_text_that_is_there_has_not_to_be_written() -> None:
    there = asks_of(Thresholds(), (), context_tokens=256, writes_text=False)

    assert there["reference's perplexity"] == Ask(scored=there["perplexity"].scored)
    assert asks_of(Thresholds(), (), context_tokens=256)["reference's perplexity"].written > 0


def test_weights_of_fewer_bits_are_fetched_sooner_and_never_for_nothing() -> None:
    packed, half, single = (PRODUCTS.fetch_s(size) for size in (0.5625, 2.0, 4.0))

    assert (packed, half) == pytest.approx((5e-11, 1e-10))
    assert single > half
    odd = Multiplying(read_s=1e-11, together_s=2e-11, alone_s=1e-10, alone_packed_s=1e-12)
    assert odd.fetch_s(0.1) > 0


def test_a_machine_has_a_speed() -> None:
    products = measure_numpy()

    assert 0 < products.read_s < products.alone_s < 1e-7
    assert 0 < products.alone_packed_s < products.alone_s
    assert 0 < measure_python() < 1


def test_the_library_of_the_runtime_tells_its_own_speed() -> None:
    pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")

    products = measure_script(LLAMA_CPP, sys.executable, os.environ, threads=1)

    assert products is not None
    assert 0 < products.read_s < products.alone_s < 1e-7


@pytest.mark.parametrize(
    "python",
    ["exit 1", "echo nonsense", "echo '{\"read_s\": 1}'", "kill -SEGV $$"],
)
def test_a_library_that_does_not_tell_leaves_it_to_numpy(tmp_path: Path, python: str) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\n{python}\n")
    interpreter.chmod(0o755)

    assert measure_script(LLAMA_CPP, str(interpreter), os.environ, threads=1) is None
    assert measure_script(LLAMA_CPP, str(tmp_path / "none"), os.environ, threads=1) is None
