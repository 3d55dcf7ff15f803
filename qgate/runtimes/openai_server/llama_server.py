"""llama.cpp behind HTTP: its own `llama-server`, and the server of llama-cpp-python.

llama-server is asked by its own `/completion`, which takes and tells token ids. It holds a token
back while the text ends within a character, and of those that it held a stream tells only the last.
So where times are taken, tokens that are no whole characters are never chosen: every other token
comes in an event of its own.

llama-cpp-python's server takes text and tells text. Its own tokenizer says which tokens a prompt
becomes, which is checked against those that were meant, and which an answer's text has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.runtimes.openai_server.dialect import (
    UNKNOWN_MARGIN_NATS,
    Completion,
    Dialect,
    Event,
    lead,
    split_end,
)
from qgate.runtimes.openai_server.model_files import ServerFacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.openai_server.dialect import Prompt
    from qgate.runtimes.openai_server.http import Server
    from qgate.runtimes.openai_server.response import JsonFields

_FINISH = (("eos", "stop"), ("limit", "length"))
_FENCE = "<qgate>"
"""A text that is part of no token."""
_ASKED_TOGETHER = 2048
_REPLACED = "\ufffd"


class LlamaServer(Dialect):
    """One `llama-server`."""

    name = "llama-server"
    speaks_ids = True

    def __init__(self, server: Server, model: str, version: str = "") -> None:
        super().__init__(server, model, version)
        self._halves: tuple[int, ...] | None = None

    @property
    def path(self) -> str:
        return f"{self.server.address.root}/completion"

    def known(self, listed: JsonFields) -> ServerFacts:
        props = self.told(self.server.get(f"{self.server.address.root}/props"))
        settings = props.inner("default_generation_settings")
        end = props.text("eos_token") if props.has("eos_token") else ""
        ends = self.tokenize(end, begins=False) if end else ()
        meta = listed.inner("meta") if listed.has("meta") else None
        return ServerFacts(
            n_vocab=meta.count("n_vocab") if meta else None,
            context_tokens=settings.count("n_ctx") if settings.has("n_ctx") else None,
            end_tokens=ends if len(ends) == 1 else (),
            width=meta.count("n_embd") if meta else None,
            n_params=meta.count("n_params") if meta else None,
        )

    def tokenize(self, text: str, *, begins: bool) -> tuple[int, ...]:
        body = {"content": text, "add_special": begins, "parse_special": True}
        path = f"{self.server.address.root}/tokenize"
        return self.told(self.server.post(path, body)).ids("tokens")

    def detokenize(self, ids: Sequence[int]) -> str:
        path = f"{self.server.address.root}/detokenize"
        return self.told(self.server.post(path, {"tokens": list(ids)})).text("content")

    def body(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        return {
            "model": self.model,
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "seed": 0,
            "cache_prompt": False,
            "return_tokens": True,
        }

    def endless(self, known: ServerFacts) -> dict[str, Any]:
        if self._halves is None:
            self._halves = tuple(self._find_halves(known))
        return {"ignore_eos": True, "logit_bias": [[token, False] for token in self._halves]}

    def _find_halves(self, known: ServerFacts) -> Iterator[int]:
        """Tokens that are no whole characters.

        The texts of many are asked for at a time, each between two tokens of which the text is
        known; the server replaces what is no character.
        """
        fence = self.tokenize(_FENCE, begins=False)
        for start in range(0, known.n_vocab or 0, _ASKED_TOGETHER):
            tokens = range(start, min(start + _ASKED_TOGETHER, known.n_vocab or 0))
            ids = [one for token in tokens for one in (*fence, token)]
            texts = self.detokenize([*ids, *fence]).split(_FENCE)[1:-1]
            if len(texts) != len(tokens):
                raise MeasurementError(
                    f"openai_server: tokens: got the texts of {len(texts)}; expected {len(tokens)}"
                )
            pairs = zip(tokens, texts, strict=True)
            yield from (token for token, text in pairs if _REPLACED in text)

    def answer(self, prompt: Prompt, tokens: int) -> Completion:
        body = {**self.body(prompt, tokens), "n_probs": 2}
        told = self.told(self.server.post(self.path, body))
        has_ended = self.has_ended(_finish(told))
        ids, end = split_end(told.ids("tokens"), has_ended=has_ended)
        name = "completion_probabilities"
        return Completion(
            text=told.text("content"),
            ids=ids,
            has_ended=has_ended,
            end=end,
            margins_nats=_leads(told.ids("tokens"), told.objects(name) if told.has(name) else ()),
            prompt_tokens=told.count("tokens_evaluated"),
            answer_tokens=told.count("tokens_predicted"),
        )

    def event(self, value: object) -> Event:
        told = self.told(value)
        if told.is_set("stop"):  # the last one repeats the whole answer
            return Event(ids=(), text="", finish=_finish(told))
        return Event(ids=told.ids("tokens"), text=told.text("content"), finish="")


_MOST_COMPLETING = 3
"""Bytes of a UTF-8 character behind its first one, each at most a token."""


class LlamaCppPython(Dialect):
    """One `python -m llama_cpp.server`; its log-probabilities are off by default."""

    name = "llama-cpp-python"

    def tokenize(self, text: str, *, begins: bool) -> tuple[int, ...]:
        """What begins a text is always put before it; where that is not wanted it is taken off."""
        ids = self._tokenize(text)
        return ids if begins else ids[len(self._tokenize("")) :]

    def _tokenize(self, text: str) -> tuple[int, ...]:
        path = f"{self.server.address.root}/extras/tokenize"
        body = {"model": self.model, "input": text}
        return self.told(self.server.post(path, body)).ids("tokens")

    def detokenize(self, ids: Sequence[int]) -> str:
        path = f"{self.server.address.root}/extras/detokenize"
        body = {"model": self.model, "tokens": list(ids)}
        return self.told(self.server.post(path, body)).text("text")

    def body(self, prompt: Prompt, tokens: int) -> dict[str, Any]:
        return {**super().body(prompt, tokens), "top_k": 1, "min_p": 0.0, "repeat_penalty": 1.0}

    def answer(self, prompt: Prompt, tokens: int) -> Completion:
        """What begins an empty prompt it counts as a token of the answer.

        An answer that would be cut within a character gets the tokens that complete it: of those
        its count says nothing.
        """
        extra = int(not prompt)
        said = super().answer(prompt, tokens + extra)
        count = None if said.answer_tokens is None else said.answer_tokens - extra
        is_completed = count is not None and tokens < count <= tokens + _MOST_COMPLETING
        if is_completed and not said.has_ended:
            count = None
        return replace(said, answer_tokens=count)


def _finish(told: JsonFields) -> str:
    kind = told.text("stop_type")
    return dict(_FINISH).get(kind, kind)


def _leads(ids: Sequence[int], entries: Sequence[JsonFields]) -> tuple[float, ...]:
    """Each token's lead; of tokens that were held back none is told."""
    left, found = list(entries), []
    for token in ids:
        if not left or left[0].count("id") != token:
            found.append(UNKNOWN_MARGIN_NATS)
            continue
        entry = left.pop(0)
        tops = entry.objects("top_logprobs")
        others = {
            str(other): top.number("logprob") for top in tops if (other := top.count("id")) != token
        }
        found.append(lead(entry.number("logprob"), others))
    return tuple(found)
