"""What `import qgate` offers, and nothing that it does not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import qgate
from qgate import checks, errors, records
from qgate.runtimes import spec

if TYPE_CHECKING:
    from types import ModuleType


def test_every_public_name_is_the_class_of_its_module() -> None:
    for name in set(qgate.__all__) - {"__version__"}:
        (home,) = [one for one in (checks, errors, records, spec) if is_defined(one, name)]
        assert getattr(qgate, name) is getattr(home, name)


def is_defined(module: ModuleType, name: str) -> bool:
    return getattr(getattr(module, name, None), "__module__", "") == module.__name__


def test_every_error_is_public_but_one_that_no_user_meets() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.QGateError)
    }
    assert tree - set(qgate.__all__) == {"StoreFull"}  # a run goes on without a store


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'qgate' has no attribute 'Estimat'"):
        _ = qgate.Estimat  # type: ignore[attr-defined]


def test_importing_qgate_imports_nothing_of_it() -> None:
    code = "import qgate, sys; print([name for name in sys.modules if name.startswith('qgate.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_artifact_of_a_report_is_its_entry_as_before_with_a_deprecation() -> None:
    entry = records.ArtifactReport(
        id="good", scheme="Q4_K_M", size_bytes=1, verdict=qgate.Verdict.PASS, records=()
    )
    with pytest.warns(DeprecationWarning, match="Leave it out"):
        assert entry.artifact.id == "good"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_exact_estimate_is_a_finite_number(value: float) -> None:
    found = qgate.Estimate.exact(4.5, unit="MB")
    assert (found.low, found.value, found.high, found.n) == (4.5, 4.5, 4.5, 1)
    assert (found.unit, found.level, found.method) == ("MB", 0.95, "exact")
    with pytest.raises(ValueError, match="expected finite numbers"):
        qgate.Estimate.exact(value, unit="MB")
