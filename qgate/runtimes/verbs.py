"""What the parent can ask of a child: each request and its answer, as both ends have them.

Across the pipe goes a JSON object with arrays (`qgate.runtimes.wire`): a `Verb` has the four
functions between that and the typed values. The parent calls `ask`, the child `serve`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from qgate.errors import RuntimeFailed
from qgate.records import RuntimeFacts
from qgate.runtimes.base import (
    Buffers,
    Heat,
    LoadSettings,
    ModelFacts,
    Prompt,
    Sampled,
    Sampling,
    Span,
)
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
from qgate.runtimes.ragged import from_flat, to_flat
from qgate.runtimes.worker.scoring import ScoreRequest
from qgate.untrusted.json import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qgate.runtimes.host import Host

_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")
_Wire = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[_Request, _Answer]):
    """One kind of request."""

    name: str
    send: Callable[[_Request], _Wire]
    receive: Callable[[_Wire], _Request]
    reply: Callable[[_Answer], _Wire]
    read: Callable[[_Wire], _Answer]

    def ask(self, host: Host, request: _Request) -> _Answer:
        """Ask a child.

        Raises:
            QGateError: what the child reports, or that it failed.
        """
        answer = host.call(self.name, **self.send(request))
        try:
            return self.read(answer)
        except (KeyError, TypeError, ValueError) as error:
            raise RuntimeFailed(
                f"runtime: unreadable answer to {self.name}: {type(error).__name__}: {error}"
            ) from error

    def serve(self, args: _Wire, answer: Callable[[_Request], _Answer]) -> _Wire:
        """Answer a request that came through the pipe."""
        return self.reply(answer(self.receive(args)))


def _fields(value: Any) -> _Wire:  # noqa: ANN401 - any dataclass
    """The fields of a dataclass as they are."""
    return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}


def _answer_to(verb: str, answer: _Wire) -> Fields:
    """What a runtime says of itself or of a model: it goes into the report as it is."""
    return Fields(answer, f"runtime: unreadable answer to {verb}", RuntimeFailed)


def _send_settings(settings: LoadSettings) -> _Wire:
    quantize = settings.quantize
    return {**_fields(settings), "quantize": None if quantize is None else dict(quantize)}


def _receive_sampling(args: _Wire) -> Sampling:
    return Sampling(
        sequences=args["sequences"],
        tokens=args["tokens"],
        seed=args["seed"],
        heat=Heat(**args.get("heat", {})),
        turns=tuple(tuple(from_flat(one)) for one in args.get("turns", ())),
        answer_tokens=args.get("answer_tokens", 0),
        ends=tuple(args.get("ends", ())),
    )


def _send_sampling(sampling: Sampling) -> _Wire:
    if not sampling.turns:
        return {name: getattr(sampling, name) for name in ("sequences", "tokens", "seed")}
    return {
        **_fields(sampling),
        "heat": dataclasses.asdict(sampling.heat),
        "turns": [to_flat(turns, "<i4") for turns in sampling.turns],
        "ends": list(sampling.ends),
    }


def _send_spans(spans: Sequence[Span]) -> _Wire:
    return {
        "ids": to_flat([span.ids for span in spans], "<i4"),
        "firsts": np.array([span.first for span in spans], dtype=np.int32),
    }


def _receive_spans(args: _Wire) -> tuple[Span, ...]:
    ids, firsts = from_flat(args["ids"]), args["firsts"].tolist()
    return tuple(Span(ids=one, first=first) for one, first in zip(ids, firsts, strict=True))


def _send_batch(batch: Batch) -> _Wire:
    return {
        "ids": to_flat([prompt.ids for prompt in batch.prompts], "<i4"),
        "max_tokens": np.array([prompt.max_tokens for prompt in batch.prompts], dtype=np.int32),
        "stops": [list(prompt.stops) for prompt in batch.prompts],
        "side_by_side": batch.side_by_side,
    }


def _receive_batch(args: _Wire) -> Batch:
    ids, most = from_flat(args["ids"]), args["max_tokens"].tolist()
    stops = args.get("stops") or [()] * len(ids)
    return Batch(
        prompts=tuple(
            Prompt(ids=one, max_tokens=top, stops=tuple(until))
            for one, top, until in zip(ids, most, stops, strict=True)
        ),
        side_by_side=args["side_by_side"],
    )


def _send_windows(request: ScoreRequest) -> _Wire:
    stored = None if request.stored is None else dataclasses.asdict(request.stored)
    return {**_fields(request), "stored": stored}


def _reply_scored(scored: Scored) -> _Wire:
    known = {name: value for name, value in _fields(scored).items() if value is not None}
    return {**known, "digests": list(scored.digests)}


DESCRIBE: Verb[None, RuntimeFacts] = Verb(
    name="describe",
    send=lambda _: {},
    receive=lambda _: None,
    reply=_fields,
    read=lambda answer: _answer_to("describe", answer).read(RuntimeFacts),
)
LOAD: Verb[LoadSettings, ModelFacts] = Verb(
    name="load",
    send=_send_settings,
    receive=lambda args: LoadSettings(**args),
    reply=ModelFacts.to_json,
    read=lambda answer: _answer_to("load", answer).read(ModelFacts),
)
TOKENIZE: Verb[str, Tokens] = Verb(
    name="tokenize",
    send=lambda text: {"text": text},
    receive=lambda args: args["text"],
    reply=_fields,
    read=lambda answer: Tokens(**answer),
)
SAMPLE: Verb[Sampling, Sampled] = Verb(
    name="sample",
    send=_send_sampling,
    receive=_receive_sampling,
    reply=lambda sampled: {"windows": sampled.ids, "answers": sampled.answers},
    read=lambda answer: Sampled(ids=answer["windows"], answers=answer["answers"]),
)
ENCODE: Verb[Texts, tuple[np.ndarray, ...]] = Verb(
    name="encode",
    send=lambda asked: {"texts": list(asked.texts), "begins": [asked.begins] * len(asked.texts)},
    receive=lambda args: Texts(texts=tuple(args["texts"]), begins=any(args["begins"])),
    reply=lambda ids: {"ids": to_flat(ids, "<i4")},
    read=lambda answer: from_flat(answer["ids"]),
)
SCORE: Verb[ScoreRequest, Scored] = Verb(
    name="score",
    send=_send_windows,
    receive=ScoreRequest.from_json,
    reply=_reply_scored,
    read=lambda answer: Scored(**{**answer, "digests": tuple(answer.get("digests", ()))}),
)
SCORE_SPANS: Verb[Sequence[Span], SpanScores] = Verb(
    name="score_spans",
    send=_send_spans,
    receive=_receive_spans,
    reply=lambda found: {
        "nll_nats": to_flat(found.nll_nats, "<f8"),
        "is_top": to_flat(found.is_top, "|b1"),
    },
    read=lambda answer: SpanScores(
        nll_nats=from_flat(answer["nll_nats"]), is_top=from_flat(answer["is_top"])
    ),
)
ANSWER: Verb[Batch, Answers] = Verb(
    name="answer",
    send=_send_batch,
    receive=_receive_batch,
    reply=lambda found: {
        "answers": to_flat(found.ids, "<i4"),
        "ends": found.ends,
        "margins_nats": to_flat(found.margins_nats, "<f4"),
        "texts": list(found.texts),
    },
    read=lambda answer: Answers(
        ids=from_flat(answer["answers"]),
        ends=np.asarray(answer["ends"]),
        texts=tuple(map(str, answer["texts"])),
        margins_nats=from_flat(answer["margins_nats"]),
    ),
)
TIME: Verb[TimedRequest, np.ndarray] = Verb(
    name="time",
    send=_fields,
    receive=lambda args: TimedRequest(**args),
    reply=lambda at_s: {"at_s": at_s},
    read=lambda answer: np.asarray(answer["at_s"], dtype=np.float64),
)
FILL_CONTEXT: Verb[int, ContextMemory] = Verb(
    name="fill_context",
    send=lambda tokens: {"tokens": tokens},
    receive=lambda args: args["tokens"],
    reply=dataclasses.asdict,
    read=lambda answer: ContextMemory(**{**answer, "buffers": Buffers(**answer["buffers"])}),
)
REPEAT: Verb[Repeats, np.ndarray] = Verb(
    name="repeat",
    send=_fields,
    receive=lambda args: Repeats(**args),
    reply=lambda sizes: {"anonymous_bytes": sizes},
    read=lambda answer: np.asarray(answer["anonymous_bytes"]),
)
