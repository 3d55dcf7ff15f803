"""`vllm serve`: takes and tells token ids.

Ids come back as `token_ids` since vLLM 0.10.2 (`return_token_ids`); an older one names tokens
`token_id:N` in its log-probabilities (`return_tokens_as_token_ids`). Prefix caching is on by
default: each streamed request has a `cache_salt` of its own, which shares no cached prefix.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.runtimes.openai_server.dialect import Completion, Dialect, lead, split_end
from qgate.runtimes.openai_server.model_files import ServerFacts
from qgate.untrusted.text import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.runtimes.openai_server.dialect import Prompt
    from qgate.runtimes.openai_server.response import JsonFields

_ID = "token_id:"


class Vllm(Dialect):
    """One vLLM server."""

    name = "vllm"
    speaks_ids = True

    def known(self, listed: JsonFields) -> ServerFacts:
        name = "max_model_len"
        return ServerFacts(context_tokens=listed.count(name) if listed.has(name) else None)

    def tokenize(self, text: str, *, begins: bool) -> tuple[int, ...]:
        body = {"model": self.model, "prompt": text, "add_special_tokens": begins}
        path = f"{self.server.address.root}/tokenize"
        return self.told(self.server.post(path, body)).ids("tokens")

    def detokenize(self, ids: Sequence[int]) -> str:
        body = {"model": self.model, "tokens": list(ids)}
        path = f"{self.server.address.root}/detokenize"
        return self.told(self.server.post(path, body)).text("prompt")

    def body(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        return {
            **super().body(prompt, tokens),
            "top_k": 1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "return_token_ids": True,
        }

    def endless(self, known: ServerFacts) -> dict[str, Any]:
        return {"ignore_eos": True, "cache_salt": uuid.uuid4().hex}

    def answer(self, prompt: Prompt, tokens: int) -> Completion:
        more = {"logprobs": 2, "return_tokens_as_token_ids": True}
        told = self.told(self.server.post(self.path, {**self.body(prompt, tokens), **more}))
        choice = told.only("choices")
        named, leads = _read_logprobs(choice.inner("logprobs"))
        ids = choice.ids("token_ids") if choice.has("token_ids") else named
        if ids != named:
            raise MeasurementError(
                f"openai_server: token ids: got {len(ids)} that are not those of their"
                f" {len(named)} log-probabilities; expected the same"
            )
        usage, has_ended = told.inner("usage"), self.has_ended(choice.text("finish_reason"))
        given, end = split_end(ids, has_ended=has_ended)
        return Completion(
            text=choice.text("text"),
            ids=given,
            has_ended=has_ended,
            end=end,
            margins_nats=leads,
            prompt_tokens=usage.count("prompt_tokens"),
            answer_tokens=usage.count("completion_tokens"),
        )


def _read_logprobs(told: JsonFields) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The tokens that were chosen, and how far each was ahead."""
    names, tops = told.texts("tokens"), told.objects("top_logprobs")
    if len(names) != len(tops):
        raise MeasurementError(
            f"openai_server: lost tokens: got log-probabilities of {len(tops)};"
            f" expected {len(names)}"
        )
    leads = []
    for name, top in zip(names, tops, strict=True):
        values = top.numbers()
        if name not in values:
            raise MeasurementError(
                f"openai_server: token ids: got no log-probability of {quoted(name)} itself"
            )
        others = {other: value for other, value in values.items() if other != name}
        leads.append(lead(values[name], others))
    return tuple(_id_of(name) for name in names), tuple(leads)


def _id_of(name: str) -> int:
    number = name.removeprefix(_ID)
    if number == name or not (number.isascii() and number.isdigit()) or len(number) > 10:
        raise MeasurementError(
            f"openai_server: token ids: got {quoted(name)}; expected '{_ID}' and a number."
            " This server is too old: vllm 0.10.2 or newer tells them"
        )
    return int(number)
