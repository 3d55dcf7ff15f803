"""What a model answered, kept: asked the same again, it need not even be loaded.

Kept are the answers to single requests, so that a run that was interrupted goes on behind the last
one that was answered. A request is known by everything that could change its answer: the digest of
the model's files, the runtime with its version, build and device, how the model is loaded, and what
is asked, as token ids. Limits are no part of it. Times and memory are never kept.

Not kept is what a digest of files does not determine: answers of a server that somebody else
started, and of models that run code of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate import __version__
from qgate.artifacts.digest import name_entry
from qgate.errors import MeasurementError, RuntimeFailed
from qgate.runtimes import wire
from qgate.runtimes.environment import passed_names
from qgate.runtimes.host import Host
from qgate.runtimes.worker.scoring import ScoreRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from qgate.records import RuntimeFacts
    from qgate.reference.store import Store
    from qgate.runtimes.verbs import Verb
    from qgate.runtimes.worker.reference_logits import Stored

FORMAT = 3
"""Part of every name: raised when the meaning of an answer changes."""
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "load": "",
        "encode": "",
        "score": "likelihoods",
        "score_spans": "likelihoods",
        "answer": "answers",
    }
)
"""Requests whose answers are kept, and what the report calls them; by no name what is no sample."""
KINDS_OF_THE_REFERENCE = ("load", "encode")
"""Its likelihoods and answers are kept by the stores of the reference and of outcomes."""
_ANSWER = "answer.json"
_ENVIRONMENT = ("GGML_", "LLAMA_", "VLLM_", "TORCH", "PYTORCH_", "OMP_", "MKL_", "CUDA_", "NVIDIA_")
"""How variables begin by which libraries choose kernels or threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is asked, but for the runtime and the request."""

    digest: Callable[[], str]
    """Of the model's files; read when it is first needed."""
    require_unchanged: Callable[[], None]
    """Raises ArtifactError where the files are no longer those of the digest."""
    loaded: Callable[[], Mapping[str, Any]]
    """By what and how the model is loaded, JSON values."""


class Recall:
    """The answers of one model in one runtime."""

    def __init__(
        self, store: Store, identity: Identity, verbs: Collection[str] = tuple(KINDS)
    ) -> None:
        self._store, self._identity, self._verbs = store, identity, verbs
        self._asked: dict[str, list[bool]] = {}
        self._oldest = ""

    def keeps(self, verb: str) -> bool:
        return verb in self._verbs

    def answer(
        self,
        runtime: RuntimeFacts,
        verb: str,
        request: object,
        ask: Callable[[], Any],
        n_vocab: Callable[[], int | None] = lambda: None,
    ) -> Any:  # noqa: ANN401 - JSON and arrays
        """What the model answers, from the store or asked now.

        Args:
            runtime: what serves it.
            verb: one that is kept.
            request: as `Host.call` takes it.
            ask: asks the model, where the store does not know.
            n_vocab: tells the size of its vocabulary, where that is known; `ask` may find it out.

        Raises:
            QGateError: what `ask` raises.
            ArtifactError: the model's files changed meanwhile.
        """
        made_of = self._made_of(runtime, verb, request)
        name = name_entry(made_of)

        def is_readable(answer: object) -> bool:
            return _is_readable(verb, request, answer, n_vocab())

        found = self._read(name, is_readable)
        self._asked.setdefault(KINDS[verb], []).append(found is not None)
        if found is not None:
            return found["answer"]
        given = ask()
        self._identity.require_unchanged()
        if not is_readable(given):
            return given  # whoever asked refuses it
        if verb == "score" and given.get("why_partition"):
            return given  # what failed for a moment is tried again by the next run

        def save(directory: Path) -> dict[str, Any]:
            (directory / _ANSWER).write_bytes(wire.encode({"answer": given}))
            return {"key_made_of": made_of}

        self._store.keep(name, save)
        return given

    def _read(self, name: str, is_readable: Callable[[object], bool]) -> dict[str, Any] | None:
        entry = self._store.find(name)
        if entry is None:
            return None
        try:
            found = wire.decode((entry.place / _ANSWER).read_bytes())
        except (OSError, RuntimeFailed):
            return None
        if not is_readable(found.get("answer")):
            return None
        measured_at = str(entry.facts.get("measured_at", ""))
        self._oldest = min(self._oldest or measured_at, measured_at)
        return found

    def _made_of(self, runtime: RuntimeFacts, verb: str, request: object) -> dict[str, Any]:
        if isinstance(request, ScoreRequest) and request.stored is not None:
            request = dataclasses.replace(request, stored=_identify(request.stored))
        return {
            "format": FORMAT,
            "qgate": __version__,
            "kind": verb,
            "weights_and_tokenizer": self._identity.digest(),
            "runtime": dataclasses.asdict(runtime),
            "loaded": dict(self._identity.loaded()),
            "environment": environment_of(os.environ),
            "asked": hashlib.sha256(wire.encode({"request": request})).hexdigest(),
        }

    def describe(self) -> dict[str, Any]:
        """What the report tells: requests of each kind, how many the store knew, since when."""
        kinds = {
            kind: {"asked": len(seen), "from_store": sum(seen)}
            for kind, seen in self._asked.items()
            if kind
        }
        if not any(kind["from_store"] for kind in kinds.values()):
            return kinds
        return {**kinds, "measured_at": self._oldest}


def _is_readable(verb: str, request: object, answer: object, n_vocab: int | None) -> bool:
    """Whether that can have been answered: what was kept is believed no more than a child is."""
    from qgate.runtimes.verbs import ANSWER, ENCODE, LOAD, SCORE, SCORE_SPANS

    verbs: tuple[Verb[Any, Any], ...] = (ANSWER, ENCODE, LOAD, SCORE, SCORE_SPANS)
    kept = {one.name: one for one in verbs}[verb]
    try:
        kept.require_possible(request, kept.read(answer), n_vocab)
    except (AttributeError, KeyError, TypeError, ValueError, MeasurementError):
        return False
    return True


class RecallingHost(Host):
    """A host that asks its child only what the store does not know.

    Args:
        recall: what was answered before.
        describe: says what serves the model, without loading it.
        child: the child, its model perhaps not loaded.
        loaded: the child, its model loaded.
        n_vocab: tells the size of the model's vocabulary, where that is known.
    """

    def __init__(
        self,
        recall: Recall,
        describe: Callable[[], RuntimeFacts],
        child: Callable[[], Host],
        loaded: Callable[[], Host],
        n_vocab: Callable[[], int | None],
    ) -> None:
        self._recall, self._describe, self._size = recall, describe, n_vocab
        self._ask_child, self._ask_loaded = child, loaded
        self.n_vocab = n_vocab()

    @property
    def pid(self) -> int:
        return self._ask_child().pid

    def call(self, verb: str, request: object) -> Any:  # noqa: ANN401 - JSON and arrays
        """As a host does; the model is loaded when its child is asked something about it."""
        if verb in ("describe", "load"):
            return self._ask_child().call(verb, request)

        def ask() -> Any:  # noqa: ANN401 - JSON and arrays
            return self._ask_loaded().call(verb, request)

        if self._recall.keeps(verb):
            answer = self._recall.answer(self._describe(), verb, request, ask, self._size)
        else:
            answer = ask()
        self.n_vocab = self._size()  # the model may have been loaded for it
        return answer

    def close(self) -> None:
        self._ask_child().close()


def _identify(stored: Stored) -> Stored:
    """The reference's distributions by what they are, not by where they lie."""
    entry = Path(stored.array).parent / "entry.json"
    matrix = stored.matrix and dataclasses.replace(stored.matrix, path="", file=())
    digest = hashlib.sha256(entry.read_bytes()).hexdigest()
    return dataclasses.replace(stored, array=digest, matrix=matrix)


def environment_of(environ: Mapping[str, str]) -> str:
    """The digest of the variables that may change numbers: their values are nobody's business."""
    passed = passed_names(environ)
    said = sorted(
        (name, environ[name]) for name in environ if name.startswith(_ENVIRONMENT) or name in passed
    )
    return hashlib.sha256(repr(said).encode(errors="backslashreplace")).hexdigest()[:16]
