"""Edge cases: does the artifact hold where quantized models break first?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qgate.measure.edge.families import PerplexityFamily
    from qgate.measure.edge.free_running import FreeAnswers
    from qgate.measure.edge.long_input import LongAnswers
    from qgate.measure.tasks.paired_binary import PairedAnswers
    from qgate.plugin.fixtures import Gate


@pytest.mark.qgate("edge.long_input")
def test_long_input(gate: Gate, answers: LongAnswers) -> None:
    """Long inputs are read to their beginning, at every length up to the limit."""
    gate.check(answers)


@pytest.mark.qgate("edge.multilingual")
def test_multilingual(gate: Gate, answers: PerplexityFamily) -> None:
    """No language is damaged, not even the worst one."""
    gate.check(answers)


@pytest.mark.qgate("edge.math")
def test_math(gate: Gate, answers: PairedAnswers) -> None:
    """Sums come out right as often as the reference's."""
    gate.check(answers)


@pytest.mark.qgate("edge.repetition")
def test_repetition(gate: Gate, answers: FreeAnswers) -> None:
    """Answers do not loop more often than the reference's."""
    gate.check(answers)


@pytest.mark.qgate("edge.termination")
def test_termination(gate: Gate, answers: FreeAnswers) -> None:
    """Answers end by themselves as often as the reference's."""
    gate.check(answers)


@pytest.mark.qgate("edge.answer_length")
def test_answer_length(gate: Gate, answers: FreeAnswers) -> None:
    """Answers are neither much longer nor much shorter than the reference's."""
    gate.check(answers)


@pytest.mark.qgate("edge.batch_invariance")
def test_batch_invariance(gate: Gate, answers: PairedAnswers) -> None:
    """Answers change no more often than the reference's when others are beside them."""
    gate.check(answers)


@pytest.mark.qgate("edge.empty_prompt")
def test_empty_prompt(gate: Gate, answers: PairedAnswers) -> None:
    """From next to nothing comes an answer, and no loop, as often as from the reference."""
    gate.check(answers)


@pytest.mark.qgate("edge.context_limit")
def test_context_limit(gate: Gate, answers: LongAnswers) -> None:
    """A context that is full to its last token is still read."""
    gate.check(answers)
