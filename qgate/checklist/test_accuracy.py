"""Task accuracy: does the artifact still know what the reference knows?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qgate.measure.tasks.paired_binary import PairedAnswers
    from qgate.plugin.fixtures import Gate


@pytest.mark.qgate("accuracy.{task}")
def test_accuracy(gate: Gate, task: str, answers: PairedAnswers) -> None:
    """Of the items that the reference knows, no more are lost than the limit allows."""
    gate.check(answers)
