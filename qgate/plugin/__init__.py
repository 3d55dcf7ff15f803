"""The entry point: options, and one object registered when `--qgate` is given.

Idle it costs the options below and nothing else: no yaml, numpy, mlflow or torch is imported.
"""

from __future__ import annotations

import pytest

from qgate.plugin import options

MARKERS = (
    "qgate(check): a row of the checklist; `check` is its public name, e.g. perplexity.ratio",
    "integrity: files, tokenizer and weights are what they claim",
    "perplexity: perplexity and divergence against the original",
    "accuracy: task accuracy against the original",
    "edge: long inputs, languages, repetition, termination",
    "latency: time to first token, tokens per second",
    "memory: weights, KV cache, peak, growth",
    "gpu: needs a GPU",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Keep the model directory from configuring pytest."""
    paths = early_config.known_args_namespace.qgate
    if paths:
        from qgate.plugin import rootdir

        rootdir.settle(early_config, paths)


def pytest_configure(config: pytest.Config) -> None:
    """Register markers and fixtures; and the gate, if it is asked for."""
    from qgate.plugin import fixtures

    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    config.pluginmanager.register(fixtures, "qgate-fixtures")
    if config.getoption("qgate"):
        from qgate.plugin.session import GateSession

        config.pluginmanager.register(GateSession.start(config), "qgate-session")
