"""The entry point: options; fixtures, markers and the session's object when `--qgate` is given.

Idle it costs the options below and nothing else: no yaml, numpy, mlflow or torch is imported, and
of a project's own tests none is touched but the checks that are written for the gate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.plugin import options

if TYPE_CHECKING:
    from collections.abc import Generator

ROW = "qgate(check): a row of the checklist; `check` is its public name, e.g. perplexity.ratio"
AREAS = (
    "integrity: files, tokenizer and weights are what they claim",
    "perplexity: perplexity and divergence against the reference",
    "accuracy: task accuracy against the reference",
    "edge: long inputs, languages, repetition, termination",
    "latency: time to first token, tokens per second",
    "memory: weights, KV cache, peak, growth",
    "gpu: needs a GPU",
)
FIXTURES = frozenset(
    {
        *("artifact", "model", "reference_model", "gate"),
        *("reference", "serving", "finding", "answers", "task"),
        *("perplexity_samples", "latency_samples", "memory_samples"),
    }
)
"""What `qgate.plugin.fixtures` and `.models` offer; the first says when a project's own wins."""
OURS_ALONE = frozenset({"artifact", "gate"})
"""Who asks for one of these means qgate; a missing `model` may be a conftest that was lost."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    options.add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Keep the model directory from configuring pytest; be there before a project's plugins."""
    paths = early_config.known_args_namespace.qgate
    if paths:
        from qgate.plugin import models, rootdir

        rootdir.settle(early_config, paths)
        early_config.pluginmanager.register(models, "qgate-models")


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """End a gated run in a line where its working directory was deleted for good."""
    try:
        return (yield)
    except OSError:
        session: Any = config.pluginmanager.getplugin("qgate-session")
        if session is None or not session.end_without_directory():
            raise
        return pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    """Register markers, fixtures and the gate, where it is asked for."""
    config.addinivalue_line("markers", ROW)
    if not config.getoption("qgate"):
        return
    from qgate import errors

    try:
        errors.require_own_package()
    except errors.UsageError as error:
        raise pytest.UsageError(str(error)) from None
    from qgate.plugin import fixtures
    from qgate.plugin.session import GateSession

    for area in AREAS:
        config.addinivalue_line("markers", area)
    config.pluginmanager.register(fixtures, "qgate-fixtures")
    config.pluginmanager.register(GateSession.start(config), "qgate-session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a gate, skip the checks that it is for."""
    if config.getoption("qgate"):
        return
    reason = "no artifact to gate: run pytest with --qgate=PATH"
    for item in items:
        lacking = _lacking(item)
        if lacking and (lacking & OURS_ALONE or item.get_closest_marker("qgate")):
            item.add_marker(pytest.mark.skip(reason=reason))


def _lacking(item: pytest.Item) -> frozenset[str]:
    """Which of these fixtures a test asks for and nobody defines."""
    info: Any = getattr(item, "_fixtureinfo", None)  # private; items of other plugins have none
    wanted = FIXTURES.intersection(getattr(item, "fixturenames", ()))
    return wanted - info.name2fixturedefs.keys() if info is not None else frozenset()
