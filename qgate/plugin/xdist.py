"""Under `pytest -n`, one artifact stays on one worker: one load each, as without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest


class ArtifactScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """Scopes are artifacts instead of modules."""

    def __init__(self, config: pytest.Config, log: Any, artifacts: Sequence[str]) -> None:  # noqa: ANN401
        super().__init__(config, log)
        self._by_length = sorted(artifacts, key=len, reverse=True)

    def _split_scope(self, nodeid: str) -> str:
        for artifact in self._by_length:
            if f"[{artifact}" in nodeid or f"-{artifact}]" in nodeid:
                return artifact
        scope: str = super()._split_scope(nodeid)
        return scope
