"""A noise floor is read back as it was written, or refused in one line; and found where it fits."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import UsageError
from qgate.planning.noise_floor import (
    Flips,
    Noise,
    NoiseFile,
    Reference,
    Runtime,
    matching,
    read_noise,
    to_json,
)
from qgate.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRILL = Flips(check="accuracy.drill", items=200, flips=3, upper=0.0383, level=0.95, texts_differ=5)
RATIO = Estimate(value=1.0, low=0.999, high=1.002, level=0.95, n=16320, unit="ratio", method="t")
NOISE = Noise(
    created="2026-01-31T12:00:00+00:00",
    original=Reference(id="llama-F16", digest="sha256:aa", size_bytes=1000),
    runtime=Runtime(name="llama_cpp", version="0.3.36", device="cpu"),
    flips=(DRILL,),
    all_flips=dataclasses.replace(DRILL, check="all"),
    estimates={"perplexity.ratio": RATIO},
    left_out={"accuracy.code": "accuracy.code: the reference itself does not know it"},
    thresholds=({"path": "thresholds/default.yaml", "digest": "sha256:cc"},),
    machine={"cpu": {"model": None, "count": 2}},
    seconds=12.5,
)
OTHER = dataclasses.replace(NOISE.original, digest="sha256:bb")
FITTING = (1000, "llama-F16", "llama_cpp", "0.3.36")


def write(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    knows_no_task = dataclasses.replace(
        NOISE, original=OTHER, flips=(), all_flips=None, left_out={}
    )
    path = write(tmp_path / "noise.json", to_json(NoiseFile(calibrations=(NOISE, knows_no_task))))

    assert read_noise(path).calibrations == (NOISE, knows_no_task)


def test_no_file_is_no_noise(tmp_path: Path) -> None:
    assert read_noise(tmp_path / "nowhere" / "noise.json").calibrations == ()


def test_the_newest_replaces_that_of_the_same_reference_and_runtime() -> None:
    vllm = dataclasses.replace(NOISE.runtime, name="vllm")
    other_runtime = dataclasses.replace(NOISE, runtime=vllm)
    other_reference = dataclasses.replace(NOISE, original=OTHER)
    newer = dataclasses.replace(NOISE.runtime, version="0.4")
    updated = dataclasses.replace(NOISE, runtime=newer)

    found = NoiseFile(calibrations=(NOISE, other_runtime, other_reference)).with_newest(updated)

    assert found.calibrations == (other_runtime, other_reference, updated)


# --- which one fits -------------------------------------------------------------------------------


def test_the_same_reference_in_the_same_version_of_its_runtime_fits() -> None:
    assert matching([NOISE], *FITTING) is NOISE


@pytest.mark.parametrize("number", range(4))
def test_another_size_name_runtime_or_version_does_not_fit(number: int) -> None:
    asked: list[Any] = list(FITTING)
    asked[number] = 7 if number == 0 else "another"

    assert matching([NOISE], *asked) is None


def test_the_newest_of_those_that_fit_is_taken() -> None:
    # earlier in UTC, though later by the letters
    older = dataclasses.replace(NOISE, created="2026-01-31T13:00:00+02:00", original=OTHER)

    assert matching([NOISE, older], *FITTING) is NOISE
    assert matching([older, NOISE], *FITTING) is NOISE


def test_flips_are_found_by_their_row() -> None:
    assert NOISE.flips_of("accuracy.drill") is DRILL
    assert NOISE.flips_of("accuracy.code") is None
    assert DRILL.rate == 3 / 200


# --- what is refused ------------------------------------------------------------------------------


def set_to(*path: str | int, value: object) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        for name in path[:-1]:
            file = file[name]
        file[path[-1]] = value

    return change


FIRST = ("calibrations", 0)
WRONG: dict[str, Callable[[Any], None]] = {
    "schema_version: got 2; expected 1": set_to("schema_version", value=2),
    "schema_version: got nothing; expected an integer": lambda file: file.pop("schema_version"),
    "calibrations[0].original: digest: got 3; expected a text": set_to(
        *FIRST, "original", "digest", value=3
    ),
    "calibrations[0]: Invalid isoformat string": set_to(*FIRST, "created", value="yesterday"),
    "a time without its zone": set_to(*FIRST, "created", value="2026-01-31T12:00:00"),
    "expected counts within them": set_to(*FIRST, "flips", 0, "flips", value=201),
    "no end below the rate": set_to(*FIRST, "all_flips", "upper", value=0.001),
    "expected low <= value <= high": set_to(
        *FIRST, "estimates", "perplexity.ratio", "low", value=2.0
    ),
}


@pytest.mark.parametrize("told", WRONG)
def test_a_file_with_a_wrong_field_is_refused_with_its_place(tmp_path: Path, told: str) -> None:
    file = copy.deepcopy(to_json(NoiseFile(calibrations=(NOISE,))))
    WRONG[told](file)
    path = write(tmp_path / "noise.json", file)

    with pytest.raises(UsageError) as caught:
        read_noise(path)

    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert told in line
    assert line.endswith("Delete it, and measure again with qgate calibrate")
    assert "\n" not in line


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"schema_version": NaN}', "\x00", "[1]"])
def test_what_is_no_such_json_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "noise.json", text)

    with pytest.raises(UsageError) as caught:
        read_noise(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_directory_in_its_place_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: got Is a directory"):
        read_noise(tmp_path)
