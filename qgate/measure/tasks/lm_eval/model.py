"""lm-eval's view of a child: an `lm_eval.api.model.LM` that asks it.

The gate makes the work first and reads both sides' answers later
(`qgate.measure.tasks.lm_eval.plan`); this is for whoever has lm-eval's own evaluator ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.measure.tasks.lm_eval.plan import plan, responses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.measure.tasks.lm_eval.plan import Response
    from qgate.runtimes.requests import Outcome, Speaker, Work
    from qgate.sandbox.chat import Chat

Ask = Callable[["Work"], "Outcome"]


class _Answering:
    """What an LM has to do; mixed into lm-eval's class, which is imported when one is made."""

    def __init__(self, ask: Ask, speaker: Speaker, chat: Chat | None) -> None:
        super().__init__()
        self._ask, self._speaker, self._chat = ask, speaker, chat

    def loglikelihood(self, requests: Sequence[Any]) -> list[Response]:
        return self._respond(requests)

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[Response]:
        return self._respond(requests)

    def generate_until(self, requests: Sequence[Any]) -> list[Response]:
        return self._respond(requests)

    def _respond(self, requests: Sequence[Any]) -> list[Response]:
        if any(request.repeats not in (None, 1) for request in requests):
            raise MeasurementError("got repeats above 1; expected 1: answers are greedy")
        work = plan(requests, self._speaker)
        return responses(work, self._ask(work))

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        if self._chat is None:
            raise MeasurementError("got no chat template; expected one to apply")
        return self._chat.render(chat_history, adds_prompt=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return self._chat.template if self._chat else ""

    @property
    def tokenizer_name(self) -> str:
        """Part of the names under which lm-eval caches requests, if it is told to."""
        return "qgate"


def make_model(ask: Ask, speaker: Speaker, chat: Chat | None = None) -> Any:  # noqa: ANN401 - an LM
    """An `lm_eval.api.model.LM` over a child.

    Args:
        ask: has the child do a piece of work.
        speaker: of the same child.
        chat: how chats become text; None: prompts are plain.
    """
    from lm_eval.api.model import LM

    class HarnessModel(_Answering, LM):  # type: ignore[misc]  # lm-eval has no types
        pass

    return HarnessModel(ask, speaker, chat)
