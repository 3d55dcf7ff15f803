"""Latency: does the artifact answer as fast as the reference in the runtime that serves it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.plugin.rows import check_of
from qgate.report.pytest_benchmark import show

if TYPE_CHECKING:
    from qgate.measure.latency.rows import LatencySamples
    from qgate.plugin.fixtures import Gate
    from qgate.records import Artifact


@pytest.fixture
def in_table(
    artifact: Artifact, latency_samples: LatencySamples, request: pytest.FixtureRequest
) -> None:
    """The recorded times in pytest-benchmark's table, where that plugin is at work."""
    config = request.config
    if not config.pluginmanager.hasplugin("benchmark") or config.getoption("benchmark_skip"):
        return
    check = check_of(request.node)
    seconds, extra_info = latency_samples.benchmark(check)
    show(request.getfixturevalue("benchmark"), f"{check}[{artifact.id}]", seconds, extra_info)


@pytest.mark.qgate("latency.ttft")
@pytest.mark.usefixtures("in_table")
def test_ttft(gate: Gate, latency_samples: LatencySamples) -> None:
    """The first token comes no later than the limit allows over the reference's."""
    gate.check(latency_samples)


@pytest.mark.qgate("latency.itl")
@pytest.mark.usefixtures("in_table")
def test_itl(gate: Gate, latency_samples: LatencySamples) -> None:
    """Each further token takes no longer than the limit allows over the reference's."""
    gate.check(latency_samples)


@pytest.mark.qgate("latency.tps")
@pytest.mark.usefixtures("in_table")
def test_tps(gate: Gate, latency_samples: LatencySamples) -> None:
    """Output tokens a second are no fewer than the limit allows of the reference's."""
    gate.check(latency_samples)


@pytest.mark.qgate("latency.ttft_slo")
def test_ttft_slo(gate: Gate, latency_samples: LatencySamples) -> None:
    """The named percentile of requests gets its first token in time."""
    gate.check(latency_samples)


@pytest.mark.qgate("latency.itl_slo")
def test_itl_slo(gate: Gate, latency_samples: LatencySamples) -> None:
    """The named percentile of requests gets its further tokens in time."""
    gate.check(latency_samples)
