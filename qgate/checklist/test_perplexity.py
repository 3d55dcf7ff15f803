"""Perplexity and divergence: does the artifact still predict what the reference predicts?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qgate.measure.perplexity.divergence import Divergence
    from qgate.plugin.fixtures import Gate


@pytest.mark.qgate("perplexity.increase")
def test_increase(gate: Gate, perplexity_samples: Divergence) -> None:
    """Perplexity rose by no more than the limit over the reference, on the same tokens."""
    gate.check(perplexity_samples)


@pytest.mark.qgate("perplexity.ratio")
def test_ratio(gate: Gate, perplexity_samples: Divergence) -> None:
    """Perplexity over the reference's, paired token by token, stays within the limit."""
    gate.check(perplexity_samples)


@pytest.mark.qgate("divergence.kl_mean")
def test_kl_mean(gate: Gate, perplexity_samples: Divergence) -> None:
    """On average the next-token distribution is still the reference's."""
    gate.check(perplexity_samples)


@pytest.mark.qgate("divergence.kl_p99")
def test_kl_p99(gate: Gate, perplexity_samples: Divergence) -> None:
    """Even the worst token in a hundred is close to the reference's."""
    gate.check(perplexity_samples)


@pytest.mark.qgate("divergence.same_top")
def test_same_top(gate: Gate, perplexity_samples: Divergence) -> None:
    """Artifact and reference rank the same token first often enough."""
    gate.check(perplexity_samples)
