"""The child's loop: reads requests, calls the adapter, answers. Started by `qgate.runtimes.host`.

Standard output of the process is taken away from the libraries (they print what they like) before
anything is imported that could print; answers go to a descriptor of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qgate.errors import MeasurementError
    from qgate.runtimes.base import LoadSettings, ModelFacts, Runtime, TextSource

HEARTBEAT_S = 1.0
_PR_SET_PDEATHSIG = 1
_GROUP = 32
"""Sequences sampled side by side."""
_LIKELIHOODS = "gives no log-probabilities of a prompt"


def main(argv: list[str] | None = None) -> None:
    """`worker NAME`: serve the named runtime until the parent closes standard input."""
    (name,) = sys.argv[1:] if argv is None else argv
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    _Worker(name, answers).serve(sys.stdin.buffer)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Worker:
    def __init__(self, name: str, answers: BinaryIO) -> None:
        from qgate.runtimes import wire

        self._wire, self._name, self._answers = wire, name, answers
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None
        self._loaded: tuple[LoadSettings, ModelFacts] | None = None
        self._request = 0

    def serve(self, requests: BinaryIO) -> None:
        with self._heartbeat():
            for line in requests:
                request = self._wire.decode(line)
                self._request = request["id"]
                self._send({"id": self._request, **self._answer(request["verb"], request["args"])})
        if self._runtime is not None:
            self._runtime.close()

    def _answer(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.errors import QGateError

        verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "describe": self._describe,
            "load": self._load,
            "tokenize": self._tokenize,
            "sample": self._sample,
            "score": self._score,
            "encode": self._encode,
            "score_spans": self._score_spans,
            "answer": self._answer_prompts,
            "time": self._time,
            "fill_context": self._fill_context,
            "repeat": self._repeat,
        }
        try:
            return {"result": verbs[verb](args)}
        except QGateError as error:
            return {"error": {"kind": type(error).__name__, "message": str(error)}}
        except MemoryError:
            return {"error": {"kind": "RuntimeFailed", "message": f"out of memory in {verb}"}}
        except OSError as error:
            return {"error": _disk_error(error, verb)}
        except Exception as error:  # noqa: BLE001 - the parent reports it; the child must answer
            return {"error": _unexpected(error, verb)}

    def _describe(self, _: dict[str, Any]) -> dict[str, Any]:
        return dataclasses.asdict(self._adapter().describe())

    def _load(self, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.runtimes import find_spec
        from qgate.runtimes.base import LoadSettings

        options = find_spec(self._name).options(**args.get("options", {}))
        settings = LoadSettings(**{**args, "options": options})
        if self._loaded is None or self._loaded[0] != settings:
            if self._loaded is not None:
                self._adapter().close()
            self._loaded = settings, self._adapter().load(settings)
        return self._loaded[1].to_json()

    def _tokenize(self, args: dict[str, Any]) -> dict[str, Any]:
        ids, piece_bytes = self._text_source().tokenize(args["text"])
        return {"ids": ids, "piece_bytes": piece_bytes}

    def _sample(self, args: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from qgate.runtimes.base import Heat, Sampling
        from qgate.runtimes.ragged import from_flat

        turns = [tuple(from_flat(one)) for one in args.get("turns", ())]
        groups = []
        for begin in range(0, args["sequences"], _GROUP):
            count = min(_GROUP, args["sequences"] - begin)
            sampling = Sampling(
                sequences=count,
                tokens=args["tokens"],
                seed=args["seed"] + begin,
                heat=Heat(**args.get("heat", {})),
                turns=tuple(turns[begin : begin + count]),
                answer_tokens=args.get("answer_tokens", 0),
                ends=tuple(args.get("ends", ())),
            )
            groups.append(self._text_source().sample(sampling, self._progress))
        return {
            "windows": np.concatenate([group.ids for group in groups]),
            "answers": np.concatenate([group.answers for group in groups]),
        }

    def _score(self, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.runtimes.base import LogitsScorer
        from qgate.runtimes.worker.logprob_scoring import TopKScorer
        from qgate.runtimes.worker.prompt_logprobs import PromptReader
        from qgate.runtimes.worker.scoring import Scorer, ScoreRequest
        from qgate.runtimes.worker.whole_scoring import WholeReader, WholeScorer

        request, facts, adapter = ScoreRequest.from_json(args), self._facts(), self._adapter()
        if facts.scoring == "logits" and isinstance(adapter, LogitsScorer):
            return Scorer(adapter, request).score(self._progress)
        if facts.scoring == "whole" and isinstance(adapter, WholeReader):
            scored = WholeScorer(adapter, facts.n_vocab, request).score(self._progress)
        elif facts.scoring == "top_k" and isinstance(adapter, PromptReader):
            scored = TopKScorer(adapter, facts.n_vocab, request).score(self._progress)
        else:
            raise self._cannot(_LIKELIHOODS)
        why = adapter.why_partition if isinstance(adapter, WholeReader) else ""
        return {"why_partition": why, **scored}

    def _encode(self, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.runtimes.ragged import to_flat

        texts, begins = args["texts"], args["begins"]
        ids = [
            self._adapter().encode(text, begins=one)
            for text, one in zip(texts, begins, strict=True)
        ]
        return {"ids": to_flat(ids, "<i4")}

    def _score_spans(self, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.runtimes.base import LogitsScorer, Span
        from qgate.runtimes.ragged import from_flat
        from qgate.runtimes.worker import logprob_scoring as top_k_scoring
        from qgate.runtimes.worker import spans as sequences
        from qgate.runtimes.worker.prompt_logprobs import PromptReader

        ids, firsts = from_flat(args["ids"]), args["firsts"].tolist()
        spans = [Span(ids=one, first=first) for one, first in zip(ids, firsts, strict=True)]
        scoring, adapter = self._facts().scoring, self._adapter()
        if scoring == "logits" and isinstance(adapter, LogitsScorer):
            return sequences.score_spans(adapter, spans, self._progress)
        if scoring in ("whole", "top_k") and isinstance(adapter, PromptReader):
            return top_k_scoring.score_spans(adapter, spans, self._progress)
        raise self._cannot(_LIKELIHOODS)

    def _answer_prompts(self, args: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from qgate.runtimes.base import Prompt
        from qgate.runtimes.ragged import from_flat, to_flat

        ids, most = from_flat(args["ids"]), args["max_tokens"].tolist()
        stops = args.get("stops") or [()] * len(ids)
        prompts = [
            Prompt(ids=one, max_tokens=top, stops=tuple(until))
            for one, top, until in zip(ids, most, stops, strict=True)
        ]
        answers = self._adapter().answer(prompts, args["side_by_side"], self._progress)
        count = len(prompts)
        self._progress("answering", count, count, (count, count))
        ends = [-1 if answer.end is None else answer.end for answer in answers]
        return {
            "answers": to_flat([answer.ids for answer in answers], "<i4"),
            "ends": np.array(ends, dtype=np.int32),
            "margins_nats": to_flat([answer.margins_nats for answer in answers], "<f4"),
            "texts": [self._adapter().decode(answer.ids) for answer in answers],
        }

    def _time(self, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.runtimes.worker.token_timing import time_request

        return time_request(self._adapter(), args["ids"], args["count"])

    def _fill_context(self, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.runtimes.base import MemoryReporter
        from qgate.runtimes.worker.process_memory import fill_context

        adapter = self._adapter()
        if not isinstance(adapter, MemoryReporter):
            raise self._cannot("does not report what it allocates")
        return fill_context(adapter, args["tokens"])

    def _repeat(self, args: dict[str, Any]) -> dict[str, Any]:
        from qgate.runtimes.worker.process_memory import repeat_batches

        return repeat_batches(self._adapter(), **args, progress=self._progress)

    def _text_source(self) -> TextSource:
        from qgate.runtimes.base import TextSource

        adapter = self._adapter()
        if not isinstance(adapter, TextSource):
            raise self._cannot(_LIKELIHOODS)  # which is all that the text is for
        return adapter

    def _cannot(self, what: str) -> MeasurementError:
        """What is asked for is none of the adapter's capabilities."""
        from qgate.errors import MeasurementError

        return MeasurementError(
            f"runtime {self._name!r} {what}; name a runtime that holds the model itself"
        )

    def _facts(self) -> ModelFacts:
        """What `load` found.

        Raises:
            RuntimeFailed: nothing has been loaded.
        """
        from qgate.errors import RuntimeFailed

        if self._loaded is None:
            raise RuntimeFailed(f"runtime {self._name!r} was asked to score before it loaded")
        return self._loaded[1]

    def _adapter(self) -> Runtime:
        if self._runtime is None:
            from qgate import runtimes

            self._runtime = runtimes.make(self._name)
        return self._runtime

    def _progress(
        self, what: str, done: int, total: int, at: tuple[int, int] | None = None, /
    ) -> None:
        progress = {"what": what, "done": done, "total": total, **({"at": at} if at else {})}
        self._send({"id": self._request, "progress": progress})

    def _send(self, message: dict[str, Any]) -> None:
        line = self._wire.encode(message)
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[self._answers.write(view) :]

    @contextlib.contextmanager
    def _heartbeat(self) -> Iterator[None]:
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT_S):
                with contextlib.suppress(OSError):
                    self._send({"alive": True})

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _disk_error(error: OSError, verb: str) -> dict[str, str]:
    """A full disk by its own name: what was to be written there may go elsewhere."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return {"kind": "StoreFull", "message": str(error.strerror)}
    return _unexpected(error, verb)


def _unexpected(error: Exception, verb: str) -> dict[str, str]:
    import traceback

    traceback.print_exception(error)  # to standard error: the child's last words
    message = f"{type(error).__name__} in {verb}: {error}"
    return {"kind": "RuntimeFailed", "message": " ".join(message.split())}
