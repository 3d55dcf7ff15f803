"""How an OpenAI-compatible server is spoken to, and what is more in the servers that are known.

    dialect            prompts     answers     to go on past an end   tokenizer
    vllm               token ids   token ids   ignore_eos             /tokenize, /detokenize
    llama-server       token ids   token ids   ignore_eos             /tokenize, /detokenize
    llama-cpp-python   text        text        logit_bias             /extras/tokenize, ...
    openai             text        text        logit_bias             tokenizer.json on this disk

Greedy decoding is asked for by name, and so is that there are no penalties: servers take defaults
from the model's generation_config.json or from their command line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from qgate.errors import MeasurementError
from qgate.runtimes.openai_server.model_files import ServerFacts
from qgate.runtimes.openai_server.response import JsonFields
from qgate.untrusted.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.runtimes.openai_server.http import Server

    Prompt = list[int] | str

UNKNOWN_MARGIN_NATS = math.inf
"""The lead of a token of which the server tells none: any other token in its place then counts as
a change, near tie or not. With a finite number `edge.batch_invariance` would overlook changes."""
_NEVER = -100.0
_LEAST_LEAD_NATS = -0.05
"""Of a token that greedy decoding chose, rounding apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer as it was told."""

    text: str
    ids: tuple[int, ...] | None
    """Without the token that ended it; None where the server tells no ids."""
    has_ended: bool
    end: int | None
    """The token that ended it, where that is told."""
    margins_nats: tuple[float, ...]
    """As many as ids, and one more where an end is told; empty where no ids are."""
    prompt_tokens: int | None
    answer_tokens: int | None
    """By the server's own count, the end included; None where it tells none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A piece of an answer that is streamed."""

    ids: tuple[int, ...] | None
    """None where the server tells no ids."""
    text: str
    finish: str
    """`length`, `stop`, ...; empty before the end."""


class Dialect:
    """Any OpenAI-compatible server: no token ids; one with a tokenizer is a `Tokenizer` too."""

    name: ClassVar[str] = "openai"
    speaks_ids: ClassVar[bool] = False
    """Whether it takes prompts and tells answers as token ids."""

    def __init__(self, server: Server, model: str, version: str = "") -> None:
        self.server, self.model, self.version = server, model, version

    @property
    def path(self) -> str:
        """Where completions are asked for."""
        return f"{self.server.address.api}/completions"

    def known(self, listed: JsonFields) -> ServerFacts:
        """What the server says of its model; `listed`: its entry in the list of models."""
        return ServerFacts()

    def body(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        """A request for a greedy answer."""
        return {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0.0,
            "top_p": 1.0,
            "seed": 0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        }

    def endless(self, known: ServerFacts) -> dict[str, Any]:
        """What to add so that no end of text ends the answer, and nothing is reused for it."""
        never = {str(end): _NEVER for end in known.end_tokens}
        return {"logit_bias": never} if never else {}

    def answer(self, prompt: Prompt, tokens: int) -> Completion:
        told = self.told(self.server.post(self.path, self.body(prompt, tokens)))
        choice = told.only("choices")
        usage = told.inner("usage") if told.has("usage") else None
        return Completion(
            text=choice.text("text"),
            ids=None,
            has_ended=self.has_ended(choice.text("finish_reason")),
            end=None,
            margins_nats=(),
            prompt_tokens=usage.count("prompt_tokens") if usage else None,
            answer_tokens=usage.count("completion_tokens") if usage else None,
        )

    def event(self, value: object) -> Event:
        told = self.told(value)
        if not told.objects("choices"):  # this one tells only how many tokens there were
            return Event(ids=None, text="", finish="")
        choice = told.only("choices")
        return Event(
            ids=choice.ids("token_ids") if choice.has("token_ids") else None,
            text=choice.text("text") if choice.has("text") else "",
            finish=choice.text("finish_reason") if choice.has("finish_reason") else "",
        )

    def told(self, value: object) -> JsonFields:
        return JsonFields(value, f"openai_server: {self.server.address.origin}{self.path}")

    def has_ended(self, finish: str) -> bool:
        """Whether the model ended the answer; else it has reached its length."""
        if finish not in ("stop", "length"):
            raise MeasurementError(
                f"openai_server: {self.server.address.shown}: an answer finished for another"
                f" reason: got {quoted(finish)}; expected 'stop' or 'length'"
            )
        return finish == "stop"


def split_end(ids: tuple[int, ...], *, has_ended: bool) -> tuple[tuple[int, ...], int | None]:
    """An answer's tokens, and the one that ended it."""
    if not has_ended:
        return ids, None
    if not ids:
        raise MeasurementError("openai_server: lost tokens: got an answer that ended without one")
    return ids[:-1], ids[-1]


def lead(own: float, others: Mapping[str, float]) -> float:
    """How much more likely a token was than the next best one, nats.

    Raises:
        MeasurementError: another one was likelier: then the answer is not greedy.
    """
    if not others:
        return UNKNOWN_MARGIN_NATS
    found = own - max(others.values())
    if found < _LEAST_LEAD_NATS:
        raise MeasurementError(
            f"openai_server: the answer is not greedy: got a token {-found:.3g} nats less likely"
            " than another; expected the likeliest. Serve the model without speculative decoding"
            " and without sampling settings of its own"
        )
    return max(found, 0.0)
