"""`edge.empty_prompt`: does an answer come from next to nothing, and no loop?

Many beginnings of next to nothing (the first token alone, a line end, single words and marks) are
continued greedily for a few tokens by both sides. An answer is bad that is empty or loops; the row
is the share of those, less the reference's, paired by beginning (exact McNemar). One beginning
alone is a coin toss: of SmolLM2's sound Q8_0 the answer to the first token alone is a loop, and the
reference's is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.free_running import BATCH_SIZE, PromptProbe, is_loop
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.runtimes.base import Prompt
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Work

if TYPE_CHECKING:
    from qgate.runtimes.requests import Outcome, Pair, TokenizerClient

_ROW = "edge.empty_prompt"
_ANSWER_TOKENS = 32
BEGINNINGS = (
    *("", "\n", "The", "I", "A", "1", "Hello", "It", "-", "In", "What", "You", "We", "#", "My"),
    *("Once", "?", "This", "He", "To", "How", "2", "She", "Dear", '"', "When", "If", "*", "There"),
    *("Yes", "Today", "(", "They", "No", "For", "Why", "One", ".", "On", "All", "Please", "At"),
    *("Thank", "As", "First", "But", "\n\n", "After"),
)
"""Texts of a token or two; the first few are of every kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries(PromptProbe):
    """The probe of the row."""

    checks: ClassVar[tuple[str, ...]] = (_ROW,)
    is_sequential: ClassVar[bool] = False  # all side by side take hardly longer than some of them
    prompts: tuple[str, ...] = BEGINNINGS

    def work(self, tokenizer: TokenizerClient) -> Work:
        nothing = np.array([tokenizer.first_token], dtype=np.int32)
        prompts = []
        for ids in tokenizer.begin(self.prompts):
            if len(ids) + _ANSWER_TOKENS > tokenizer.context_tokens:
                raise MeasurementError(
                    f"{_ROW}: got a context of {tokenizer.context_tokens} tokens;"
                    f" expected at least {len(ids) + _ANSWER_TOKENS}"
                )
            prompts.append(Prompt(ids=ids if len(ids) else nothing, max_tokens=_ANSWER_TOKENS))
        return Work(batches=(Batch(prompts=tuple(prompts), batch_size=BATCH_SIZE),))

    def read(self, pair: Pair) -> PairedAnswers:
        """Which answers are empty or loop.

        Raises:
            NotApplicable: all of the reference's do.
        """
        reference = _is_bad(pair.reference)
        if reference.all():
            raise NotApplicable(
                f"{_ROW}: the reference itself says nothing or loops: got {len(reference)} of"
                f" {len(reference)} answers that do; expected fewer. Nothing could be lost"
            )
        return PairedAnswers(
            artifact=_is_bad(pair.artifact),
            reference=reference,
            is_good=False,
            prompts=self.prompts,
            artifact_texts=pair.artifact.answers[0].texts,
            reference_texts=pair.reference.answers[0].texts,
        )


def _is_bad(outcome: Outcome) -> np.ndarray:
    return np.array([not len(ids) or is_loop(ids) for ids in outcome.answers[0].ids])
