"""qgate: is this quantized artifact still the model we had?

    options (plugin) -> Artifact (artifacts) -> a served model (runtimes) and its reference
    -> samples (measure) -> Estimate (stats) -> Verdict (verdict) -> Record (gate)
    -> Report (report)

The names below are public; everything else may change without notice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_RECORDS = frozenset({"Artifact", "Estimate", "Limit", "Record", "Report", "Verdict"})


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever has the name
    """A public name, imported when it is first asked for: the idle plugin imports nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'qgate' has no attribute {name!r}")
    if name == "RuntimeSpec":
        home = "qgate.runtimes.spec"
    else:
        home = "qgate.records" if name in _RECORDS else "qgate.errors"
    return getattr(import_module(home), name)
