"""An already running `vllm serve`, `llama-server` or any OpenAI-compatible server, from outside.

Measured are generated answers and the times of their tokens. What needs the likelihood of a prompt
is an error: servers tell none, or none that can be trusted to be of the very same tokens. The model
is not loaded: the server's options, its device and its memory are the user's business.

Times are those of tokens as they arrive here: what HTTP adds is in them. An answer's tokens are
exact where the server takes and tells ids; `build` in the report says which of both it does.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.records import RuntimeFacts
from qgate.runtimes.base import Answer, LoadSettings, ModelFacts
from qgate.runtimes.openai_server.dialect import UNKNOWN_MARGIN_NATS
from qgate.runtimes.openai_server.discovery import find_model
from qgate.runtimes.openai_server.http import Server
from qgate.runtimes.openai_server.options import ServerOptions, read_address, read_key
from qgate.runtimes.openai_server.stream import one_by_one
from qgate.runtimes.worker.stop_strings import first_of, settled_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import Progress, Prompt
    from qgate.runtimes.openai_server.dialect import Completion
    from qgate.runtimes.openai_server.discovery import Served

_TIMEOUT_S = 300.0


class OpenAIServer:
    """One model of one server."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._served: Served | None = None
        self._texts: dict[bytes, str] = {}
        """What the server said, by its tokens: of the last answers."""

    def describe(self) -> RuntimeFacts:
        """What serves; unknown before `load`, which is told where that is."""
        if self._served is None:
            return RuntimeFacts(name="openai_server", version="unknown", device="server")
        dialect = self._served.dialect
        return RuntimeFacts(
            name="openai_server",
            version=f"{dialect.name} {dialect.version}".strip(),
            device="server",
            build=self._served.build,
        )

    def load(self, settings: LoadSettings) -> ModelFacts:
        started = time.perf_counter()
        options = settings.options_as(ServerOptions)
        address = read_address(options.url)
        self.close()
        self._server = Server(address, read_key(os.environ), options.timeout_s or _TIMEOUT_S)
        self._served = served = find_model(self._server, options.model, Path(settings.path))
        known, begin = served.known, served.text.begin
        bos = begin[0] if begin else known.bos
        if bos is None and not known.end_tokens:
            raise MeasurementError(
                f"openai_server: {address.shown}: the tokenizer has neither a"
                " begin-of-text nor an end-of-text token that is known here"
            )
        return ModelFacts(
            n_vocab=served.n_vocab,
            width=known.width,
            n_params=known.n_params,
            context_length=known.context_tokens,
            bos=bos,
            adds_bos=bool(begin),
            first_token=known.end_tokens[0] if bos is None else bos,
            end_tokens=known.end_tokens,
            load_s=time.perf_counter() - started,
            scoring="none",
        )

    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        return self._model.text.encode(text, begins=begins)

    def decode(self, ids: np.ndarray) -> str:
        said = self._texts.get(_key(ids))
        return self._model.text.decode(ids, self._model.known.end_tokens) if said is None else said

    # --- text ---------------------------------------------------------------------------------

    def answer(
        self, prompts: Sequence[Prompt], batch_size: int, progress: Progress
    ) -> list[Answer]:
        self._texts.clear()
        with ThreadPoolExecutor(max_workers=batch_size) as pool:
            asked = [pool.submit(self._answer, prompt) for prompt in prompts]
            try:
                for done, one in enumerate(as_completed(asked), start=1):
                    if one.exception() is not None:
                        at = asked.index(one)
                        progress("answering", done - 1, len(prompts), (at, at + 1))
                    one.result()
                    progress("answering", done, len(prompts))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [one.result() for one in asked]

    def _answer(self, prompt: Prompt) -> Answer:
        served = self._model
        said = served.dialect.answer(self._prompt(prompt.ids), prompt.max_tokens)
        _require_whole(said, prompt)
        if said.ids is None:
            ids = served.text.encode(said.text, begins=False)
        else:
            ids = np.array(said.ids, dtype=np.int32)
        if len(ids) and int(ids.max()) >= served.n_vocab:
            raise MeasurementError(
                f"openai_server: token ids: got {int(ids.max())};"
                f" expected less than the {served.n_vocab} of the vocabulary"
            )
        leads = said.margins_nats or [UNKNOWN_MARGIN_NATS] * (len(ids) + said.has_ended)
        answer = Answer(
            ids=ids, end=self._end_of(said), margins_nats=np.array(leads, dtype=np.float32)
        )
        return self._kept(answer, said.text, prompt.stops)

    def _kept(self, answer: Answer, text: str, stops: Sequence[str]) -> Answer:
        """What is read of an answer, which a server gives whole: as many tokens as its text has."""
        size = settled_at(text, stops)
        if size is None:
            self._texts[_key(answer.ids)] = text
            return answer
        kept = first_of(answer, len(self._model.text.encode(text[:size], begins=False)))
        # a server's own tokens may be others than those of the text: what begins alike may differ
        if self._texts.setdefault(_key(kept.ids), text[:size]) == text[:size]:
            return kept
        self._texts[_key(answer.ids)] = text
        return answer

    def _end_of(self, said: Completion) -> int | None:
        """A server that tells no ids stops at an end that the files declare: the first of them."""
        ends = self._model.known.end_tokens
        if not said.has_ended or said.end is not None:
            return said.end
        if not ends:
            raise MeasurementError(
                "openai_server: an answer ended, and no end token of the model is known here"
            )
        return ends[0]

    def stream(self, ids: np.ndarray, count: int) -> Iterator[int]:
        served = self._model
        dialect, text = served.dialect, served.text
        # which tokens they are does not matter to the time, how many does
        prompt = ids.tolist() if dialect.speaks_ids else text.as_long_as(ids)
        body = {
            **dialect.body(prompt, count),
            **dialect.endless(served.known),
            "stream": True,
        }
        assert self._server is not None
        events = self._server.stream(dialect.path, body)
        return one_by_one(events, dialect.event, count)

    def _prompt(self, ids: np.ndarray) -> list[int] | str:
        served = self._model
        if served.dialect.speaks_ids:
            found: list[int] = ids.tolist()
            return found
        return served.text.written(ids)

    def close(self) -> None:
        self._server = self._served = None

    @property
    def _model(self) -> Served:
        assert self._served is not None, "load comes first"
        return self._served


def _require_whole(said: Completion, prompt: Prompt) -> None:
    """Refuse an answer to another prompt, or to less of it, or one that was cut short."""
    if said.prompt_tokens not in (None, len(prompt.ids)):
        raise MeasurementError(
            f"openai_server: prompt: the server read {said.prompt_tokens} tokens;"
            f" expected {len(prompt.ids)}"
        )
    told = said.answer_tokens if said.ids is None else len(said.ids)
    if told is None:
        return
    is_right = told <= prompt.max_tokens if said.has_ended else told == prompt.max_tokens
    if not is_right or (said.ids is not None and not _agrees(said)):
        raise MeasurementError(
            f"openai_server: lost tokens: got {told} of an answer that finished"
            f" {'at its end' if said.has_ended else 'at its length'} and counts"
            f" {said.answer_tokens}, with margins of {len(said.margins_nats)};"
            f" expected {prompt.max_tokens}, or an end before"
        )


def _agrees(said: Completion) -> bool:
    """Whether ids, leads and the server's own count are of the same tokens."""
    assert said.ids is not None
    size = len(said.ids) + said.has_ended
    return len(said.margins_nats) == size and said.answer_tokens in (None, size)


def _key(ids: np.ndarray) -> bytes:
    return np.asarray(ids, dtype=np.int32).tobytes()
