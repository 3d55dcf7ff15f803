"""What the parent can ask of a child: each request and its answer, as both ends have them.

The parent calls `ask`, the child `serve`; what goes through the pipe is in `qgate.runtimes.wire`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from qgate.errors import MeasurementError, RuntimeFailed
from qgate.records import RuntimeFacts
from qgate.runtimes import possible, wire
from qgate.runtimes.base import LoadSettings, ModelFacts, Sampled, Sampling, Span
from qgate.runtimes.messages import (
    Answers,
    Batch,
    ContextMemory,
    Repeats,
    Scored,
    SpanScores,
    Texts,
    TimedRequest,
    Tokens,
)
from qgate.runtimes.worker.scoring import ScoreRequest
from qgate.untrusted.json import Fields
from qgate.untrusted.text import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qgate.runtimes.host import Host

_LETTERS = 8
"""Only a tokenizer reads a text: it is as much work as a token of a model for each of these."""
_LONGEST_LINE = 300
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[_Request, _Answer]):
    """One kind of request."""

    name: str
    request: Any
    """Its type, and that of its answer, as `wire.read` takes them."""
    answer: Any
    require_possible: Callable[[_Request, _Answer, int | None], None] = lambda *_: None
    """Raises where no runtime can have answered that, by the request and the vocabulary's size."""
    is_shown: bool = False
    """Whether the answer goes into the report as it is: each field is then checked more closely."""
    is_text: bool = False
    """Whether texts in the answer are what a model wrote, to the last letter."""

    def ask(self, host: Host, request: _Request) -> _Answer:
        """Ask a child.

        Raises:
            QGateError: what the child reports, or that it failed.
            MeasurementError: it answered what cannot be.
        """
        answer = host.call(self.name, request)
        unreadable = f"runtime: unreadable answer to {self.name}"
        try:
            if self.is_shown:
                answer = Fields(answer, unreadable, RuntimeFailed).read(self.answer)
            found = self.read(answer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            line = f"{unreadable}: {type(error).__name__}: {error}"
            raise RuntimeFailed(shortened(line, _LONGEST_LINE)) from error
        try:
            self.require_possible(request, found, host.n_vocab)
        except possible.Impossible as error:
            raise MeasurementError(f"runtime: impossible answer to {self.name}: {error}") from None
        if isinstance(found, ModelFacts):
            host.n_vocab = found.n_vocab
        return found

    def read(self, answer: object) -> _Answer:
        """An answer as it came through the pipe or was kept; what is for a report made fit to it.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is none.
        """
        found: _Answer = wire.read(self.answer, answer)
        return found if self.is_text else _with_short_texts(found)

    def serve(self, request: object, answer: Callable[[_Request], _Answer]) -> _Answer:
        """Answer a request that came through the pipe."""
        return answer(wire.read(self.request, request))


def _with_short_texts(value: Any) -> Any:  # noqa: ANN401 - of the same kind
    """Texts of a child are names and reasons, and are shown."""
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, tuple):
        return tuple(map(_with_short_texts, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        return type(value)(**{name: _with_short_texts(one) for name, one in fields.items()})
    return value


DESCRIBE: Verb[None, RuntimeFacts] = Verb(
    name="describe", request=None, answer=RuntimeFacts, is_shown=True
)
LOAD: Verb[LoadSettings, ModelFacts] = Verb(
    name="load",
    request=LoadSettings,
    answer=ModelFacts,
    require_possible=possible.require_facts,
    is_shown=True,
)
TOKENIZE: Verb[str, Tokens] = Verb(
    name="tokenize", request=str, answer=Tokens, require_possible=possible.require_tokens
)
SAMPLE: Verb[Sampling, Sampled] = Verb(
    name="sample", request=Sampling, answer=Sampled, require_possible=possible.require_sampled
)
ENCODE: Verb[Texts, tuple[np.ndarray, ...]] = Verb(
    name="encode",
    request=Texts,
    answer=tuple[np.ndarray, ...],
    require_possible=possible.require_encoded,
)
SCORE: Verb[ScoreRequest, Scored] = Verb(
    name="score", request=ScoreRequest, answer=Scored, require_possible=possible.require_scored
)
SCORE_SPANS: Verb[Sequence[Span], SpanScores] = Verb(
    name="score_spans",
    request=tuple[Span, ...],
    answer=SpanScores,
    require_possible=possible.require_span_scores,
)
ANSWER: Verb[Batch, Answers] = Verb(
    name="answer",
    request=Batch,
    answer=Answers,
    require_possible=possible.require_answers,
    is_text=True,
)
TIME: Verb[TimedRequest, np.ndarray] = Verb(
    name="time", request=TimedRequest, answer=np.ndarray, require_possible=possible.require_times
)
FILL_CONTEXT: Verb[int, ContextMemory] = Verb(
    name="fill_context",
    request=int,
    answer=ContextMemory,
    require_possible=possible.require_context_memory,
)
REPEAT: Verb[Repeats, np.ndarray] = Verb(
    name="repeat", request=Repeats, answer=np.ndarray, require_possible=possible.require_sizes
)


def tokens_of(request: object) -> int:
    """How much work a request is: the tokens that the model has to read and to write."""
    match request:
        case str():
            return len(request) // _LETTERS + 1
        case int():
            return request
        case Texts():
            return sum(tokens_of(text) for text in request.texts)
        case ScoreRequest():
            return request.windows.size
        case Sampling():
            return request.sequences * request.tokens
        case Batch():
            return sum(len(one.ids) + one.max_tokens for one in request.prompts)
        case TimedRequest():
            return len(request.ids) + request.count
        case Repeats():
            return request.times * (len(request.ids) + request.tokens)
        case tuple() | list():
            return sum(len(span.ids) for span in request)
        case _:
            return 0
