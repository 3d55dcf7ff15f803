"""A team's own prompts and continuations as work for both sides."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Work
from qgate.untrusted.text import quoted

if TYPE_CHECKING:
    from qgate.runtimes.requests import Outcome, TokenizerClient

_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPrompts:
    """Prompts that are answered; with continuations, these are scored instead."""

    prompts: tuple[str, ...]
    continuations: tuple[str, ...] | None = None
    """One for each prompt."""
    max_tokens: int = 1
    """Of an answer, at least 1."""
    stops: tuple[str, ...] = ()

    @property
    def checks(self) -> tuple[str, ...]:
        return ("own",)

    @property
    def label(self) -> str:
        """What tells it from other prompts of a run."""
        asked = [self.prompts, self.continuations, self.max_tokens, self.stops]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()

    def work(self, tokenizer: TokenizerClient) -> Work:
        """Token ids.

        Raises:
            MeasurementError: more tokens than the model's context, or none to score.
        """
        prompts = tokenizer.begin(self.prompts)
        if self.continuations is not None:
            return Work(spans=tuple(self._spans(tokenizer, prompts)))
        for text, ids in zip(self.prompts, prompts, strict=True):
            _require_room(text, len(ids) + self.max_tokens, tokenizer)
        asked = tuple(
            Prompt(ids=ids, max_tokens=self.max_tokens, stops=self.stops) for ids in prompts
        )
        return Work(batches=(Batch(prompts=asked),))

    def _spans(self, tokenizer: TokenizerClient, prompts: tuple[np.ndarray, ...]) -> list[Span]:
        follow, spans = tokenizer.follow(self.continuations or ()), []
        for text, ids, more in zip(self.prompts, prompts, follow, strict=True):
            if not len(ids) or not len(more):
                raise MeasurementError(
                    f"prompt {quoted(text[:_SHOWN_CHARACTERS])}: got {len(ids)} tokens and"
                    f" {len(more)} of its continuation; expected at least one of each"
                )
            _require_room(text, len(ids) + len(more), tokenizer)
            spans.append(Span(ids=np.concatenate([ids, more]), first=len(ids) - 1))
        return spans

    def answers(self, outcome: Outcome) -> list[str]:
        """One side's answers, each without the first stop and what follows it."""
        (answered,) = outcome.answers
        return [
            min((text.partition(stop)[0] for stop in self.stops), key=len, default=text)
            for text in answered.texts
        ]

    def loglikelihoods(self, outcome: Outcome) -> list[float]:
        """Of one side, in nats: the sum over a continuation's tokens."""
        return [-float(nll.sum()) for nll in outcome.nll_nats]


def _require_room(text: str, tokens: int, tokenizer: TokenizerClient) -> None:
    if tokens > tokenizer.context_tokens:
        raise MeasurementError(
            f"prompt {quoted(text[:_SHOWN_CHARACTERS])} does not fit the context: got {tokens}"
            f" tokens with what follows it; expected at most {tokenizer.context_tokens}"
        )
