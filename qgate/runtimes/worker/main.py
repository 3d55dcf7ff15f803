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
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from qgate.errors import MeasurementError, QGateError, RuntimeFailed
from qgate.runtimes import find_spec, make
from qgate.runtimes.base import LogitsScorer, MemoryReporter, Sampled, TextSource
from qgate.runtimes.messages import NO_END, Answers, Scored, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from qgate.runtimes.base import LoadSettings, ModelFacts, Runtime, Sampling, Span
    from qgate.runtimes.messages import (
        Batch,
        ContextMemory,
        Repeats,
        SpanScores,
        Texts,
        TimedRequest,
    )
    from qgate.runtimes.worker.scoring import ScoreRequest

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

    def _answer(self, verb: str, args: object) -> dict[str, Any]:
        try:
            return {"result": self._serve(verb, args)}
        except QGateError as error:
            return {"error": {"kind": type(error).__name__, "message": str(error)}}
        except MemoryError:
            return {"error": {"kind": "RuntimeFailed", "message": f"out of memory in {verb}"}}
        except OSError as error:
            return {"error": _disk_error(error, verb)}
        except Exception as error:  # noqa: BLE001 - the parent reports it; the child must answer
            return {"error": _unexpected(error, verb)}

    def _serve(self, verb: str, args: object) -> object:
        from qgate.runtimes import verbs

        served: dict[str, Callable[[], object]] = {
            "describe": lambda: verbs.DESCRIBE.serve(args, lambda _: self._adapter().describe()),
            "load": lambda: verbs.LOAD.serve(args, self._load),
            "tokenize": lambda: verbs.TOKENIZE.serve(args, self._tokenize),
            "sample": lambda: verbs.SAMPLE.serve(args, self._sample),
            "score": lambda: verbs.SCORE.serve(args, self._score),
            "encode": lambda: verbs.ENCODE.serve(args, self._encode),
            "score_spans": lambda: verbs.SCORE_SPANS.serve(args, self._score_spans),
            "answer": lambda: verbs.ANSWER.serve(args, self._answer_prompts),
            "time": lambda: verbs.TIME.serve(args, self._time),
            "fill_context": lambda: verbs.FILL_CONTEXT.serve(args, self._fill_context),
            "repeat": lambda: verbs.REPEAT.serve(args, self._repeat),
        }
        return served[verb]()

    def _load(self, settings: LoadSettings) -> ModelFacts:
        given = settings.options if isinstance(settings.options, dict) else {}
        options = find_spec(self._name).options(**given)
        settings = dataclasses.replace(settings, options=options)
        if self._loaded is None or self._loaded[0] != settings:
            if self._loaded is not None:
                self._adapter().close()
            self._loaded = settings, self._adapter().load(settings)
        return self._loaded[1]

    def _tokenize(self, text: str) -> Tokens:
        ids, piece_bytes = self._text_source().tokenize(text)
        return Tokens(ids=ids, piece_bytes=piece_bytes)

    def _sample(self, sampling: Sampling) -> Sampled:
        import numpy as np

        groups = []
        for begin in range(0, sampling.sequences, _GROUP):
            count = min(_GROUP, sampling.sequences - begin)
            group = dataclasses.replace(
                sampling,
                sequences=count,
                seed=sampling.seed + begin,
                turns=sampling.turns[begin : begin + count],
            )
            groups.append(self._text_source().sample(group, self._progress))
        return Sampled(
            ids=np.concatenate([group.ids for group in groups]),
            answers=np.concatenate([group.answers for group in groups]),
        )

    def _score(self, request: ScoreRequest) -> Scored:
        from qgate.artifacts.digest import window_digests
        from qgate.runtimes.worker.logprob_scoring import TopKScorer
        from qgate.runtimes.worker.prompt_logprobs import PromptReader
        from qgate.runtimes.worker.scoring import Scorer
        from qgate.runtimes.worker.whole_scoring import WholeReader, score_whole

        started = time.perf_counter()
        facts, adapter = self._facts(), self._adapter()
        scored: dict[str, Any] = {"why_partition": getattr(adapter, "why_partition", "")}
        if facts.scoring == "logits" and isinstance(adapter, LogitsScorer):
            scored |= Scorer(adapter, request).score(self._progress)
        elif facts.scoring == "whole" and isinstance(adapter, WholeReader):
            scored |= score_whole(adapter, facts.n_vocab, request, self._progress)
        elif facts.scoring == "top_k" and isinstance(adapter, PromptReader):
            scored |= TopKScorer(adapter, facts.n_vocab, request).score(self._progress)
        else:
            raise self._cannot(_LIKELIHOODS)
        digests = tuple(window_digests(request.windows))
        return Scored(digests=digests, total_s=time.perf_counter() - started, **scored)

    def _encode(self, asked: Texts) -> tuple[np.ndarray, ...]:
        import numpy as np

        found = (self._adapter().encode(text, begins=asked.begins) for text in asked.texts)
        return tuple(np.asarray(ids, dtype=np.int32) for ids in found)

    def _score_spans(self, spans: Sequence[Span]) -> SpanScores:
        from qgate.runtimes.worker import logprob_scoring as top_k_scoring
        from qgate.runtimes.worker import spans as sequences
        from qgate.runtimes.worker.prompt_logprobs import PromptReader

        scoring, adapter = self._facts().scoring, self._adapter()
        if scoring == "logits" and isinstance(adapter, LogitsScorer):
            return sequences.score_spans(adapter, spans, self._progress)
        if scoring in ("whole", "top_k") and isinstance(adapter, PromptReader):
            return top_k_scoring.score_spans(adapter, spans, self._progress)
        raise self._cannot(_LIKELIHOODS)

    def _answer_prompts(self, batch: Batch) -> Answers:
        import numpy as np

        count = len(batch.prompts)
        answers = self._adapter().answer(batch.prompts, batch.batch_size, self._progress)
        self._progress("answering", count, count, (count, count))
        ends = [NO_END if answer.end is None else answer.end for answer in answers]
        return Answers(
            ids=tuple(np.asarray(answer.ids, dtype=np.int32) for answer in answers),
            ends=np.array(ends, dtype=np.int32),
            margins_nats=tuple(np.asarray(one.margins_nats, dtype=np.float32) for one in answers),
            texts=tuple(self._adapter().decode(answer.ids) for answer in answers),
        )

    def _time(self, request: TimedRequest) -> np.ndarray:
        from qgate.runtimes.worker.token_timing import time_request

        return time_request(self._adapter(), request.ids, request.count)

    def _fill_context(self, tokens: int) -> ContextMemory:
        from qgate.runtimes.worker.process_memory import fill_context

        adapter = self._adapter()
        if not isinstance(adapter, MemoryReporter):
            raise self._cannot("does not report what it allocates")
        return fill_context(adapter, tokens)

    def _repeat(self, asked: Repeats) -> np.ndarray:
        from qgate.runtimes.worker.process_memory import repeat_batches

        return repeat_batches(self._adapter(), asked, self._progress)

    def _text_source(self) -> TextSource:
        adapter = self._adapter()
        if not isinstance(adapter, TextSource):
            raise self._cannot(_LIKELIHOODS)  # which is all that the text is for
        return adapter

    def _cannot(self, what: str) -> MeasurementError:
        """What is asked for is none of the adapter's capabilities."""
        return MeasurementError(
            f"runtime {self._name!r} {what}; name a runtime that holds the model itself"
        )

    def _facts(self) -> ModelFacts:
        """What `load` found.

        Raises:
            RuntimeFailed: nothing has been loaded.
        """
        if self._loaded is None:
            raise RuntimeFailed(f"runtime {self._name!r} was asked to score before it loaded")
        return self._loaded[1]

    def _adapter(self) -> Runtime:
        if self._runtime is None:
            self._runtime = make(self._name)
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
