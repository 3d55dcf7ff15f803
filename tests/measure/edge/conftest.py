"""Fixtures of the edge cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.long_texts import CONTEXTS, plan

if TYPE_CHECKING:
    from tests.support.long_texts import Planned, Speak


@pytest.fixture(scope="module", params=CONTEXTS)
def planned(request: pytest.FixtureRequest, speak: Speak) -> Planned:
    """A context, and the long texts that fill it."""
    context: int = request.param
    return context, plan(speak, context)
