"""A child that serves the demo's model in vLLM, and text of that model's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from qgate.runtimes.base import Sampling
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.verbs import SAMPLE
from tests.support.vllm_environment import SEQUENCES, TOKENS, load, python_with_vllm

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    with Host(HostSettings(runtime="vllm", python=python_with_vllm())) as host:
        yield host


@pytest.fixture
def served(host: Host) -> Host:
    """The child with the demo's model; loaded once, unless a test loaded another."""
    load(host, model_directory())
    return host


@pytest.fixture(scope="session")
def windows(host: Host) -> np.ndarray:
    """Text of the model's own."""
    load(host, model_directory())
    return SAMPLE.ask(host, Sampling(sequences=SEQUENCES, tokens=TOKENS, seed=3)).ids
