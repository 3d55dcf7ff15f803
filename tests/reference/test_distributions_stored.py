"""What is stored of the reference: small, exact, and in the encoding that its logits allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.reference.encoding import MAX_SELF_KL_NATS
from qgate.thresholds import TextSettings
from tests.conftest import Toy, write_toy
from tests.support.references import arrays, entries, make_plan, measure

Toys = Callable[..., Path]
Planted = Callable[[str], str]


@pytest.fixture
def model(toys: Toys) -> Path:
    return toys() / "original.gguf"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


REALISTIC = Toy(scheme="F32", vocabulary=4096, width=256)


def test_a_model_of_realistic_shape_is_stored_within_a_tenth(store: Path, tmp_path: Path) -> None:
    path = write_toy(tmp_path / "original.gguf", REALISTIC)
    quiet = tmp_path / "quiet.gguf"
    quiet.write_bytes(scale_output(path, 0.2))
    settings = TextSettings(source="generated", windows=16, window_tokens=256)

    found, _ = measure(store, make_plan(quiet, settings))

    facts = found.storage()
    [entry] = entries(store)
    on_disk = sum(file.stat().st_size for file in (store / entry).iterdir())
    base_row_bytes = 2 * (2 * (4096 // 2) + 4)
    base_file_bytes = 20 + 16 * 256 * 4 + 16 * 127 * base_row_bytes
    assert facts["encoding"] == "hidden"
    assert facts["llama_cpp_base_file_bytes"] == base_file_bytes
    assert facts["store_bytes"] == on_disk
    assert on_disk < 0.1 * base_file_bytes
    assert facts["self_kl_nats"] < MAX_SELF_KL_NATS
    assert facts["compared_positions"] == len(found.compared) == 16 * 127


def scale_output(path: Path, factor: float) -> bytes:
    """The toy with a flatter output: language models are less sure than random matrices."""
    import gguf

    raw = bytearray(path.read_bytes())
    [tensor] = [one for one in gguf.GGUFReader(path).tensors if one.name == "output.weight"]
    scaled = (np.asarray(tensor.data) * np.float32(factor)).astype("<f4").tobytes()
    raw[tensor.data_offset : tensor.data_offset + len(scaled)] = scaled
    return bytes(raw)


CAPPED = """
import numpy as np
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def logits_of_windows(self, windows, first, *, with_hidden):
        for logits, states in super().logits_of_windows(windows, first, with_hidden=with_hidden):
            yield (5.0 * np.tanh(logits / 5.0) - 100.0).astype(np.float32), states
"""


def test_logits_that_are_not_matrix_times_state_are_stored_as_rows(
    store: Path, model: Path, planted: Planted
) -> None:
    found, asked = measure(store, make_plan(model), planted(CAPPED))

    assert asked == ["describe", "load", "sample", "score", "score"]
    assert found.stored.encoding == "rows"
    assert found.stored.matrix is None
    assert np.load(found.stored.array).shape == (len(found.compared), 64)
    assert found.self_kl_nats < MAX_SELF_KL_NATS
    again, asked = measure(store, make_plan(model), "planted")
    assert asked == ["describe"]
    assert arrays(again) == arrays(found)


HUGE = """
import numpy as np
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def logits_of_windows(self, windows, first, *, with_hidden):
        for logits, states in super().logits_of_windows(windows, first, with_hidden=with_hidden):
            states = np.array(states)
            states[:, {position}, 0] = {number}
            yield logits, states
"""


@pytest.mark.parametrize("position", [0, 1, 30])
@pytest.mark.parametrize("number", ["70000.0", "-np.inf", "np.nan"])
def test_a_state_that_16_bits_cannot_hold_is_stored_as_rows(
    store: Path, model: Path, planted: Planted, position: int, number: str
) -> None:
    """Wherever it is: a quarter of the positions is compared, every number is looked at."""
    runtime = planted(HUGE.format(position=position, number=number))

    found, asked = measure(store, make_plan(model), runtime)

    assert asked == ["describe", "load", "sample", "score", "score"]
    assert found.stored.encoding == "rows"
    assert found.self_kl_nats < MAX_SELF_KL_NATS
    assert np.isfinite(np.load(found.stored.array)).all()


def test_a_reference_that_says_nothing_is_refused(store: Path, toys: Toys) -> None:
    path = write_toy(toys() / "original.gguf", Toy(scheme="F32", fault="constant:score"))

    with pytest.raises(MeasurementError) as caught:
        measure(store, make_plan(path))

    assert str(caught.value) == "the reference says nothing: all its logits are equal"
