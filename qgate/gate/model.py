"""What a team's own check asks a model: the fixtures `model` and `reference_model`.

Text becomes token ids once, and both sides get these ids. What they answer is stored as the answers
of the shipped rows are: by the files, the runtime, the settings and the ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from qgate.gate.measurer import Measurer
    from qgate.measure.own_prompts import OwnPrompts
    from qgate.runtimes.requests import Outcome
    from qgate.runtimes.served_model import ServedModel

_Texts = list[str] | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An artifact, or the reference that it is held against, and what it can be asked."""

    measurer: Measurer
    serving: ServedModel
    """The artifact's child, for the reference too."""
    is_reference: bool
    errors: Callable[[], AbstractContextManager[None]]
    """What turns an error of measuring into an ERROR row of one line."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 128,
        stop: str | Sequence[str] = (),
        chat: bool = False,
    ) -> list[str]:
        """Greedy answers, in the order of the prompts.

        Args:
            prompts: special tokens in them are parsed.
            max_tokens: the longest answer.
            stop: an answer ends before the first of these texts.
            chat: whether each prompt is a user's message, put into the reference's chat template.
        """
        from qgate.measure.own_prompts import OwnPrompts

        with self.errors():
            texts = _texts("prompts", prompts)
            if max_tokens < 1:
                raise MeasurementError(f"max_tokens: got {max_tokens}; expected at least 1")
            stops = (stop,) if isinstance(stop, str) else tuple(stop)
            if not texts:
                return []
            own = OwnPrompts(
                prompts=self._framed(texts) if chat else texts, max_tokens=max_tokens, stops=stops
            )
            return own.answers(self._ask(own))

    @overload
    def loglikelihood(self, prompt: str, continuation: str) -> float: ...

    @overload
    def loglikelihood(self, prompt: _Texts, continuation: _Texts) -> list[float]: ...

    def loglikelihood(
        self, prompt: str | _Texts, continuation: str | _Texts
    ) -> float | list[float]:
        """The log-likelihood of a continuation after its prompt, in nats, summed over its tokens.

        Args:
            prompt: a text, or several.
            continuation: a text, or one for each prompt.
        """
        from qgate.measure.own_prompts import OwnPrompts

        with self.errors():
            if isinstance(prompt, str) and isinstance(continuation, str):
                own = OwnPrompts(prompts=(prompt,), continuations=(continuation,))
                return own.loglikelihoods(self._ask(own))[0]
            prompts = _texts("prompt", prompt)
            continuations = _texts("continuation", continuation)
            if len(prompts) != len(continuations):
                raise MeasurementError(
                    f"loglikelihood: got {len(prompts)} prompts and {len(continuations)}"
                    " continuations; expected one continuation for each prompt"
                )
            if not prompts:
                return []
            own = OwnPrompts(prompts=prompts, continuations=continuations)
            return own.loglikelihoods(self._ask(own))

    def _framed(self, prompts: tuple[str, ...]) -> tuple[str, ...]:
        from qgate.reference.conversations import frame

        reference = self.measurer.children.plan.require_reference()
        framed = frame(prompts, reference)
        if framed.follows is None:
            raise MeasurementError(
                f"chat: {reference.id} has no chat template that works: its prompts would be"
                f" {framed.how}. Write generate(..., chat=False)"
            )
        return framed.firsts

    def _ask(self, own: OwnPrompts) -> Outcome:
        measurer, serving = self.measurer, self.serving
        measurer.require_same_tokens(serving)
        if self.is_reference:
            _, outcome = measurer.ask_reference_beside(serving, own, own.label)
            return outcome
        return measurer.ask_artifact(serving, own, measurer.plan(serving, own, own.label))


def _texts(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The texts, where they are several; a single one would be taken letter by letter.

    Raises:
        MeasurementError: they are not.
    """
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise MeasurementError(f"{name}: got {type(texts).__name__}; expected a list of texts")
    return tuple(texts)
