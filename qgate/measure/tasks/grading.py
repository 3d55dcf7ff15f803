"""What generated answers are worth: right or wrong, or a score, by a task's metric.

    exact, numeric   right or wrong, see `qgate.measure.tasks.metrics`
    code             right where the program passes the item's unit tests, in a sandbox
    rouge_l          F-measure of the longest common subsequence of words (Lin 2004, "ROUGE: A
                     Package for Automatic Evaluation of Summaries"), no stemming: Google's
                     rouge_score, as Hugging Face's `evaluate` and lm-evaluation-harness use it
    chrf             F2 of character n-grams (Popovic 2015, doi:10.18653/v1/W15-3049), a sentence
                     at a time: sacrebleu's `sentence_chrf` / 100

Scores are of single answers: a corpus score has no value for each item, and nothing to pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.measure.tasks.code_execution import program, run_all
from qgate.measure.tasks.metrics import METRICS, SCORES, plain
from qgate.sandbox.programs import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qgate.measure.tasks.items import Item
    from qgate.measure.tasks.scorers import Scorer
    from qgate.sandbox.programs import Outcome

_INSTALL = 'Install it with: pip install "pytest-qgate[tasks]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Grading:
    """How a task's generated answers are graded."""

    metric: str = "exact"
    ignore_case: bool = False
    ignore_punctuation: bool = False
    scorer: Scorer | None = None
    """A function of somebody else's in place of the metric."""

    @property
    def is_score(self) -> bool:
        return self.scorer is not None or self.metric in SCORES

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.metric if self.scorer is None else self.scorer.name

    def require_telling(self, items: Sequence[Item]) -> None:
        """Refuse expected answers that no answer could be held against.

        Raises:
            MeasurementError: one says nothing.
        """
        if self.scorer is None and self.metric in METRICS:
            for item in items:
                self._is_right(item.answer, item.answer)

    def grade(
        self, texts: Sequence[str], items: Sequence[Item]
    ) -> tuple[np.ndarray, tuple[Outcome, ...]]:
        """One grade an answer, shape (n,): bool, or float from 0 to 1 where `is_score`.

        And how each program ended; of no answers where none is run.

        Raises:
            MeasurementError: an expected answer says nothing, a package is missing, or this
                machine cannot isolate code that is run.
        """
        if self.metric == "code":
            pairs = zip(items, texts, strict=True)
            outcomes = run_all(
                [
                    Program(
                        name=f"item {item.id}", code=program(item.prompt, text), checks=item.tests
                    )
                    for item, text in pairs
                ]
            )
            # an empty answer is wrong even where the prompt alone is a program
            said = (bool(text.strip()) for text in texts)
            passed = [says and one.passed for says, one in zip(said, outcomes, strict=True)]
            return np.array(passed), tuple(outcomes)
        if self.scorer is not None:
            score: Callable[[str, str], float] = self.scorer
        elif self.is_score:
            score = _scorer(self.metric)
        else:
            score = self._is_right
        graded = zip(texts, items, strict=True)
        return np.array([score(text, item.answer) for text, item in graded]), ()

    def _is_right(self, text: str, answer: str) -> bool:
        return METRICS[self.metric](self._plain(text), self._plain(answer))

    def _plain(self, text: str) -> str:
        return plain(text, ignore_case=self.ignore_case, ignore_punctuation=self.ignore_punctuation)


def _scorer(metric: str) -> Callable[[str, str], float]:
    try:
        return _rouge_l() if metric == "rouge_l" else _chrf()
    except ImportError as error:
        raise MeasurementError(
            f"metric {metric}: {error.name} is not installed. {_INSTALL}"
        ) from None


def _rouge_l() -> Callable[[str, str], float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    return lambda text, answer: float(scorer.score(answer, text)["rougeL"].fmeasure)


def _chrf() -> Callable[[str, str], float]:
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF()
    return lambda text, answer: float(metric.sentence_score(text, [answer]).score) / 100
