"""Property tests: files and answers of strangers, made by hypothesis out of sound ones.

`QGATE_TEST_EXAMPLES=10000 pytest tests/properties` looks further than CI does, and elsewhere each
time; CI looks at the same 200 examples of each. Nothing is remembered between runs.
"""

from __future__ import annotations

import os
import resource
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, configuration, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXAMPLES = os.environ.get("QGATE_TEST_EXAMPLES")
_IN_CI = 200
_MANY = int(_EXAMPLES or _IN_CI)
_MOST_GROWTH_KIB = 300 * 1024
"""For as many examples as in CI."""

# hypothesis keeps tables of characters there, which would else lie in the tree
configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "qgate-hypothesis")
settings.register_profile(
    "qgate",
    max_examples=_MANY,
    derandomize=_EXAMPLES is None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),  # to explain takes minutes
    # of one example; an honest one takes milliseconds, on a machine that is shared by many
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("qgate")


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """What no file may cost, however much it says that it holds.

    A module may say REMEMBERED_KIB: what of each example is rightly kept.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    remembered_kib = getattr(request.module, "REMEMBERED_KIB", 0) * max(0, _MANY - _IN_CI)
    assert grown <= _MOST_GROWTH_KIB + remembered_kib, f"{grown} KiB more than before"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which every example writes over the one before."""
    return tmp_path_factory.mktemp("example")
