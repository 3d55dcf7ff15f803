"""qgate: is this quantized artifact still the model we had?

    options (plugin) -> Artifact (artifacts) -> a served model (runtimes) and its reference
    -> samples (measure) -> Estimate (stats) -> Verdict (verdict) -> Record (gate)
    -> Report (report)

The names below are public; everything else may change without notice.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qgate.checks import Check
    from qgate.errors import (
        ArtifactError,
        MeasurementError,
        NotApplicable,
        QGateError,
        RuntimeFailed,
        RuntimeUnavailable,
        ThresholdsError,
        UsageError,
    )
    from qgate.records import Artifact, Estimate, Limit, Record, Report, Verdict
    from qgate.runtimes.spec import RuntimeSpec

__version__ = "0.1.0"
__all__ = [
    "Artifact",
    "ArtifactError",
    "Check",
    "Estimate",
    "Limit",
    "MeasurementError",
    "NotApplicable",
    "QGateError",
    "Record",
    "Report",
    "RuntimeFailed",
    "RuntimeSpec",
    "RuntimeUnavailable",
    "ThresholdsError",
    "UsageError",
    "Verdict",
    "__version__",
]
_HOMES = MappingProxyType(
    {
        "Check": "qgate.checks",
        "RuntimeSpec": "qgate.runtimes.spec",
        **dict.fromkeys(
            ("Artifact", "Estimate", "Limit", "Record", "Report", "Verdict"), "qgate.records"
        ),
    }
)
"""Modules of names that are no errors."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever has the name
    """A public name, imported when it is first asked for: the idle plugin imports nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'qgate' has no attribute {name!r}")
    home = _HOMES.get(name, "qgate.errors")
    return getattr(import_module(home), name)
