"""The original, measured once: a content-addressed store of its tokens and distributions.

An entry is a directory named by the digest of everything that could change its numbers: the
weights' digest, the text's digest and windows, the runtime with its version, build and device.
Another machine, library or text is another entry; nothing is ever overwritten or trusted by date.

    <store>/<key>/entry.json   what the key was made of, digests of the arrays and its own, facts
                  ids.npy      token ids of the windows
                  clusters.npy which scored tokens belong together
                  nll.npy      the original's negative log-likelihood of each scored token
                  kept.npy     its hidden states (or logits) at the compared positions, float16
                  anchors.npy  logsumexp of its logits there
                  tops.npy     the token it ranks first there
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.entries import get_or_make, name_entry
from qgate.errors import ArtifactError
from qgate.measure.original import Loaded, keep_original
from qgate.measure.output_matrix import find_output_matrix
from qgate.measure.texts import Text, Windows, cut_windows
from qgate.runtimes.base import ModelFacts
from qgate.runtimes.original import Encoding, Stored
from qgate.runtimes.scoring import window_digests

if TYPE_CHECKING:
    from qgate.records import Artifact, RuntimeFacts
    from qgate.serving import Serving
    from qgate.thresholds import TextSettings

FORMAT = 4
"""Part of every key: raised when an entry's meaning changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured, before anything is."""

    artifact: Artifact
    digest: str
    text: Text
    settings: TextSettings
    windows: Windows | None = None
    """What another runtime cut; None: to be cut by the one that measures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The original's measurements, ready to hold artifacts against."""

    artifact: Artifact
    digest: str
    runtime: RuntimeFacts
    facts: ModelFacts
    text: Text
    windows: Windows
    nll_nats: np.ndarray
    """Shape (scored tokens,), float64."""
    stored: Stored
    anchors: np.ndarray
    """logsumexp of what is kept, shape (kept positions,), float64."""
    tops: np.ndarray
    """Token ranked first, shape (kept positions,), int32."""
    compared: np.ndarray
    """Indices of the kept positions among the scored tokens."""
    self_kl_nats: float
    """Mean KL of the original, as decoded, against its own stored self."""
    was_stored: bool
    """True where the store had it and nothing was measured."""
    seconds: float

    def storage(self) -> dict[str, Any]:
        """What storing costs, and what llama.cpp's base file for the same windows would."""
        count, size = self.windows.ids.shape
        scored = size - 1 - size // 2
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
    """Entries under one directory; safe for several runs at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()  # children work elsewhere

    def get_or_measure(self, plan: Plan, serving: Serving) -> Reference:
        """The plan's entry, measured if the store has none.

        Args:
            plan: what to measure.
            serving: the original in the runtime that will also serve the artifacts.

        Raises:
            QGateError: whatever kept the original from being measured.
        """
        runtime = serving.describe()
        name = name_entry(_ingredients(plan, runtime))
        entry, was_stored = get_or_make(
            self._directory, name, lambda work: _measure_into(work, plan, serving)
        )
        reference = _open(plan, runtime, self._directory / name, entry)
        return dataclasses.replace(reference, was_stored=was_stored)


def _ingredients(plan: Plan, runtime: RuntimeFacts) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "weights_and_tokenizer": plan.digest,
        "text": plan.text.digest,
        "windows": plan.settings.windows,
        "window_tokens": plan.settings.window_tokens,
        "seed": plan.settings.seed,
        "positions": plan.settings.positions,
        "given": None if plan.windows is None else window_digests(plan.windows.ids),
        "runtime": dataclasses.asdict(runtime),
    }


def _measure_into(work: Path, plan: Plan, serving: Serving) -> dict[str, Any]:
    facts, host = serving.load(), serving.host
    windows = plan.windows or cut_windows(plan.text, plan.settings, host, facts)
    scored, stored = keep_original(
        work, plan.artifact, plan.settings, Loaded(host=host, facts=facts, windows=windows)
    )
    np.save(work / "ids.npy", windows.ids)
    np.save(work / "clusters.npy", windows.clusters)
    np.save(work / "nll.npy", scored["nll_nats"])
    np.save(work / "anchors.npy", scored["anchors"])
    np.save(work / "tops.npy", scored["tops"])
    return {
        "key_made_of": _ingredients(plan, serving.describe()),
        "facts": facts.to_json(),
        "clustered_by": windows.clustered_by,
        "encoding": stored.encoding,
        "stride": stored.stride,
        "self_kl_nats": float(np.abs(scored["kl_nats"]).mean()),
        "seconds": scored["total_s"],
    }


def score_arguments(reference: Reference) -> dict[str, Any]:
    """The `score` verb's arguments for an artifact: the very windows of the original."""
    return {
        "windows": reference.windows.ids,
        "first": reference.windows.first,
        "stored": dataclasses.asdict(reference.stored),
        "anchors": reference.anchors,
        "tops": reference.tops,
    }


def _open(plan: Plan, runtime: RuntimeFacts, place: Path, entry: dict[str, Any]) -> Reference:
    facts = ModelFacts.from_json(entry["facts"])
    encoding: Encoding = entry["encoding"]
    matrix = find_output_matrix(plan.artifact, facts) if encoding == "hidden" else None
    windows = Windows(
        ids=_load(place / "ids.npy"),
        clusters=_load(place / "clusters.npy"),
        clustered_by=entry["clustered_by"],
    )
    stored = Stored(
        encoding=encoding,
        array=str((place / "kept.npy").resolve()),
        stride=entry["stride"],
        matrix=matrix,
    )
    count, scored = windows.clusters.shape
    compared = np.arange(count)[:, None] * scored + np.arange(0, scored, stored.stride)
    return Reference(
        artifact=plan.artifact,
        digest=plan.digest,
        runtime=runtime,
        facts=facts,
        text=plan.text,
        windows=windows,
        nll_nats=_load(place / "nll.npy"),
        stored=stored,
        anchors=_load(place / "anchors.npy"),
        tops=_load(place / "tops.npy"),
        compared=compared.reshape(-1),
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
        raise ArtifactError(
            f"{artifact.id}: vocabulary differs from the reference's: got {facts.n_vocab} tokens;"
            f" expected {reference.facts.n_vocab}. Name the right original with --qgate-reference"
        )
