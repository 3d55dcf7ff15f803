"""lm-eval's view of a child: a model that lm-eval's own evaluator asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qgate.measure.tasks.lm_eval.plan import plan, responses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.measure.tasks.lm_eval.plan import Response
    from qgate.runtimes.requests import Outcome, TokenizerClient, Work

Ask = Callable[["Work"], "Outcome"]


class _Answering:
    """What an LM has to do; mixed into lm-eval's class, which is imported when one is made."""

    def __init__(self, ask: Ask, tokenizer: TokenizerClient) -> None:
        super().__init__()
        self._ask, self._tokenizer = ask, tokenizer

    def loglikelihood(self, requests: Sequence[Any]) -> list[Response]:
        return self._respond(requests)

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[Response]:
        return self._respond(requests)

    def generate_until(self, requests: Sequence[Any]) -> list[Response]:
        return self._respond(requests)

    def _respond(self, requests: Sequence[Any]) -> list[Response]:
        work = plan(requests, self._tokenizer)
        return responses(work, self._ask(work))


def make_model(ask: Ask, tokenizer: TokenizerClient) -> Any:
    """An `lm_eval.api.model.LM` over a child."""
    from lm_eval.api.model import LM

    class HarnessModel(_Answering, LM):  # type: ignore[misc]  # lm-eval has no types
        pass

    return HarnessModel(ask, tokenizer)
