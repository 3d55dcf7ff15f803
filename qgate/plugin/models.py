"""What a team's own check asks: `model` and `reference_model`.

Registered before a project's `pytest_plugins`: of plugins' fixtures of a name the last one wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.plugin.fixtures import measuring, session_of

if TYPE_CHECKING:
    from qgate.gate.model import Model
    from qgate.runtimes.served_model import ServedModel


@pytest.fixture(scope="session")
def model(serving: ServedModel, request: pytest.FixtureRequest) -> Model:
    """The artifact, to be asked by a team's own check."""
    return _model(serving, request, is_reference=False)


@pytest.fixture(scope="session")
def reference_model(serving: ServedModel, request: pytest.FixtureRequest) -> Model:
    """The reference, asked the same token ids as the artifact."""
    return _model(serving, request, is_reference=True)


def _model(serving: ServedModel, request: pytest.FixtureRequest, *, is_reference: bool) -> Model:
    from qgate.gate.model import Model

    return Model(
        measurer=session_of(request.config).measurer,
        serving=serving,
        is_reference=is_reference,
        errors=lambda: measuring(serving.artifact.id),
    )
