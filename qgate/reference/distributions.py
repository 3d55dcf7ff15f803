"""The reference, measured once: a content-addressed store of its tokens and distributions.

An entry is a directory named by the digest of everything that could change its numbers: the
weights' digest, the text's digest and windows, the runtime with its version, build and device.
Another machine, library or text is another entry; nothing is ever overwritten or trusted by date.

    <store>/<key>/entry.json   what the key was made of, digests of the arrays, facts, signature
                  ids.npy      token ids of the windows
                  clusters.npy which of the tokens that were asked about belong together
                  scored.npy   which of them count
                  topics.npy   what each of them is about, where that is known
                  nll.npy      the reference's negative log-likelihood of each of them
                  kept.npy     its hidden states (or logits) at the compared positions, float16
                  anchors.npy  logsumexp of its logits there
                  tops.npy     the token it ranks first there
                  top_logprobs.npy  and that token's log-probability
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.artifacts.digest import name_entry, window_digests
from qgate.errors import ArtifactError, MeasurementError, with_subject
from qgate.reference.encoding import Loaded, keep_reference
from qgate.reference.output_matrix import find_output_matrix
from qgate.reference.samples import Samples
from qgate.reference.store import Store
from qgate.reference.texts import Text, cut_windows
from qgate.reference.windows import Windows
from qgate.runtimes.verbs import LOAD
from qgate.runtimes.worker.reference_logits import Encoding, Stored
from qgate.runtimes.worker.scoring import ScoreRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.records import Artifact, RuntimeFacts
    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.messages import Scored
    from qgate.runtimes.served_model import ServedModel
    from qgate.thresholds import TextSettings

FORMAT = 6
"""Part of every key: raised when an entry's meaning changes."""
_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured, before anything is."""

    artifact: Artifact
    digest: str
    text: Text
    settings: TextSettings
    windows: Windows | None = None
    """What another runtime cut; None: to be cut by the one that measures."""
    first_round: int = 0
    """Above 0: an extension of a generated text that has so many times its windows already."""
    require_unchanged: Callable[[], None] = lambda: None
    """Raises where the reference's files are not those of the digest any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference's measurements, ready to hold artifacts against."""

    artifact: Artifact
    digest: str
    runtime: RuntimeFacts
    facts: ModelFacts
    text: Text
    windows: Windows
    nll_nats: np.ndarray
    """Shape (tokens that count,), float64."""
    stored: Stored
    anchors: np.ndarray
    """logsumexp of what is kept, shape (kept positions,), float64."""
    tops: np.ndarray
    """Token ranked first, shape (kept positions,), int32."""
    top_logprobs: np.ndarray | None
    """Log-probability of that token, shape (kept positions,), float32; None where its runtime does
    not tell."""
    self_kl_nats: float
    """Mean KL of the reference, as decoded, against its own stored self."""
    was_stored: bool
    """True where the store had it and nothing was measured."""
    seconds: float

    @property
    def kept_per_window(self) -> int:
        """Kept positions of each window."""
        return len(self.tops) // len(self.windows.ids)

    @property
    def compared(self) -> np.ndarray:
        """Indices of the kept positions that count among the tokens that count."""
        return self.windows.compared(self.stored.stride)

    def leading(self, end: int) -> Reference:
        """The same, of the first windows alone."""
        windows, kept = self.windows.take(np.arange(end)), end * self.kept_per_window
        tops = self.top_logprobs
        return dataclasses.replace(
            self,
            windows=windows,
            nll_nats=self.nll_nats[: int(windows.scored.sum())],
            anchors=self.anchors[:kept],
            tops=self.tops[:kept],
            top_logprobs=None if tops is None else tops[:kept],
        )

    def storage(self) -> dict[str, Any]:
        """What storing costs, and what llama.cpp's base file for the same windows would."""
        count, size = self.windows.ids.shape
        scored = size - 1 - self.windows.first
        row_bytes = 2 * (2 * ((self.facts.n_vocab + 1) // 2) + 4)
        files = Path(self.stored.array).parent.iterdir()
        return {
            "encoding": self.stored.encoding,
            "compared_positions": len(self.compared),
            "stride": self.stored.stride,
            "store_bytes": sum(path.stat().st_size for path in files),
            "llama_cpp_base_file_bytes": 20 + count * (size * 4 + scored * row_bytes),
            "self_kl_nats": self.self_kl_nats,
            "was_stored": self.was_stored,
        }


class ReferenceStore:
    """References in a store, by what was measured of whom."""

    def __init__(self, store: Store | Path) -> None:
        self._store = store if isinstance(store, Store) else Store(store)

    def get_or_measure(self, plan: Plan, serving: ServedModel) -> Reference:
        """The plan's entry, measured if the store has none.

        Args:
            plan: what to measure.
            serving: the reference in the runtime that will also serve the artifacts.

        Raises:
            QGateError: whatever kept the reference from being measured.
        """
        runtime = serving.describe()
        name = name_entry({**_ingredients(plan, runtime), "loaded": serving.loaded_as})
        entry = self._store.get_or_make(name, lambda work: _measure_into(work, plan, serving))
        try:
            reference = _open(plan, runtime, entry.place, entry.facts)
        except OSError as error:
            raise MeasurementError(
                f"store: {error.filename or entry.place}: cannot be read ({error.strerror});"
                " expected what was written there. Run again, and let the store be until then"
            ) from error
        return dataclasses.replace(reference, was_stored=entry.was_there)


def _ingredients(plan: Plan, runtime: RuntimeFacts) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "weights_and_tokenizer": plan.digest,
        "text": plan.text.digest,
        "windows": plan.settings.windows,
        "window_tokens": plan.settings.window_tokens,
        "conversation_tokens": plan.settings.conversation_tokens,
        "seed": plan.settings.seed,
        "positions": plan.settings.positions,
        "given": None if plan.windows is None else window_digests(plan.windows.ids),
        "runtime": dataclasses.asdict(runtime),
        **({"extension": _extension(plan)} if plan.first_round else {}),
    }


def _extension(plan: Plan) -> list[Any]:
    """What an extension is made of besides what its text is made of."""
    recipe = plan.text.recipe
    fresh = () if recipe is None else recipe.fresh
    return [plan.first_round, [[one.slice, one.prompt] for one in fresh]]


def _measure_into(work: Path, plan: Plan, serving: ServedModel) -> dict[str, Any]:
    facts, host = serving.load(), serving.host
    windows = plan.windows or _mixed(
        cut_windows(plan.text, plan.settings, host, facts, plan.first_round)
    )
    kept = keep_reference(
        work, plan.artifact, plan.settings, Loaded(host=host, facts=facts, windows=windows)
    )
    scored = kept.scored
    for name, values in (
        ("nll", scored.nll_nats),
        ("anchors", scored.anchors),
        ("tops", scored.tops),
        ("top_logprobs", scored.top_logprobs),
    ):
        if values is not None:
            np.save(work / f"{name}.npy", values)
    np.save(work / "ids.npy", windows.ids)
    np.save(work / "clusters.npy", windows.clusters)
    np.save(work / "scored.npy", windows.scored)
    if windows.topics is not None:
        np.save(work / "topics.npy", windows.topics)
    plan.require_unchanged()
    return {
        "key_made_of": _ingredients(plan, serving.describe()),
        "facts": dataclasses.asdict(facts),
        "clustered_by": windows.clustered_by,
        "slices": list(windows.slices),
        "asked": windows.asked,
        "encoding": kept.stored.encoding,
        "stride": kept.stored.stride,
        "self_kl_nats": kept.self_kl_nats,
        "seconds": scored.total_s,
    }


def _mixed(windows: Windows) -> Windows:
    """The same windows in random order, always the same: the first of them speak for all."""
    return windows.take(np.random.default_rng(_SEED).permutation(len(windows.ids)))


def score_request(reference: Reference, begin: int, end: int) -> ScoreRequest:
    """What an artifact's child is asked: windows begin..end of the reference."""
    kept = slice(begin * reference.kept_per_window, end * reference.kept_per_window)
    return ScoreRequest(
        windows=reference.windows.ids[begin:end],
        first=reference.windows.first,
        stored=dataclasses.replace(reference.stored, begin=kept.start),
        anchors=reference.anchors[kept],
        tops=reference.tops[kept],
        compared=reference.windows.kept(reference.stored.stride)[kept],
    )


def pair(reference: Reference, scored: Scored) -> Samples:
    """What came of an artifact's windows, paired with the reference: of the tokens that count.

    Raises:
        MeasurementError: something was not scored.
    """
    windows, stride = reference.windows, reference.stored.stride
    kept, mass = windows.kept(stride), scored.covered_mass
    tops = reference.top_logprobs
    return Samples(
        nll_nats=windows.pick(_whole(scored.nll_nats, windows.scored.size, "scored tokens")),
        reference_nll_nats=reference.nll_nats,
        clusters=windows.owners,
        kl_nats=_whole(scored.kl_nats, len(kept), "divergences")[kept],
        same_top=_whole(scored.same_top, len(kept), "likeliest tokens")[kept],
        compared=reference.compared,
        windows=windows.numbers,
        places=windows.positions / windows.ids.shape[1],
        slices=windows.slices,
        topics=None if windows.topics is None else windows.pick(windows.topics),
        confidence=None if tops is None else np.exp(tops[kept].astype(np.float64)),
        covered_mass=None if mass is None else mass[kept],
        why_partition=scored.why_partition,
    )


def _whole(found: np.ndarray | None, wanted: int, what: str) -> np.ndarray:
    if found is None or len(found) != wanted:
        got = 0 if found is None else len(found)
        raise MeasurementError(f"lost samples: got {got} {what}; expected {wanted}")
    return found


def _open(plan: Plan, runtime: RuntimeFacts, place: Path, entry: dict[str, Any]) -> Reference:
    facts = LOAD.read(entry["facts"])
    encoding: Encoding = entry["encoding"]
    matrix = find_output_matrix(plan.artifact, facts) if encoding == "hidden" else None
    windows = Windows(
        ids=_load(place / "ids.npy"),
        clusters=_load(place / "clusters.npy"),
        clustered_by=entry["clustered_by"],
        scored=_load(place / "scored.npy"),
        slices=tuple(entry["slices"]),
        asked=entry["asked"],
        topics=_load(place / "topics.npy") if entry["slices"] else None,
    )
    stored = Stored(
        encoding=encoding,
        array=str((place / "kept.npy").resolve()),
        stride=entry["stride"],
        matrix=matrix,
    )
    top_logprobs = place / "top_logprobs.npy"
    return Reference(
        artifact=plan.artifact,
        digest=plan.digest,
        runtime=runtime,
        facts=facts,
        text=plan.text,
        windows=windows,
        nll_nats=windows.pick(_load(place / "nll.npy")),
        stored=stored,
        anchors=_load(place / "anchors.npy"),
        tops=_load(place / "tops.npy"),
        top_logprobs=_load(top_logprobs) if top_logprobs.is_file() else None,
        self_kl_nats=entry["self_kl_nats"],
        was_stored=True,
        seconds=entry["seconds"],
    )


def _load(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, allow_pickle=False)
    return array


def require_same_vocabulary(artifact: Artifact, facts: ModelFacts, reference: Reference) -> None:
    """Raise ArtifactError where token ids cannot mean the same on both sides."""
    if facts.n_vocab != reference.facts.n_vocab:
        other = ArtifactError(
            f"vocabulary differs from the reference's: got {facts.n_vocab} tokens;"
            f" expected {reference.facts.n_vocab}. Name the right reference with --qgate-reference"
        )
        raise with_subject(other, artifact.id)
