"""Memory: what does serving the artifact really take, and does it stay that way?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qgate.measure.memory.rows import MemorySamples
    from qgate.plugin.fixtures import Gate


@pytest.mark.qgate("memory.weights")
def test_weights(gate: Gate, memory_samples: MemorySamples) -> None:
    """The loaded weights take no more than the limit allows of the reference's."""
    gate.check(memory_samples)


@pytest.mark.qgate("memory.kv_cache")
def test_kv_cache(gate: Gate, memory_samples: MemorySamples) -> None:
    """A token's keys and values take what the model's dimensions make, in 16 bits."""
    gate.check(memory_samples)


@pytest.mark.qgate("memory.peak")
def test_peak(gate: Gate, memory_samples: MemorySamples) -> None:
    """With a full context, memory stays within the limit's share of the reference's."""
    gate.check(memory_samples)


@pytest.mark.qgate("memory.growth")
def test_growth(gate: Gate, memory_samples: MemorySamples) -> None:
    """Serving the same batch again takes no further memory."""
    gate.check(memory_samples)


@pytest.mark.qgate("memory.fits")
def test_fits(gate: Gate, memory_samples: MemorySamples) -> None:
    """Weights, scratch and the KV cache of the named context fit the budget."""
    gate.check(memory_samples)
