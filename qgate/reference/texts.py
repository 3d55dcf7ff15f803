"""Which tokens are scored: a text from a file, WikiText-2, or the reference's own.

Where no text is named it is what the reference answers to shipped prompts, sampled as it is served
(`qgate.reference.conversations`): the text that the artifact will have to write. Whole windows are
read, the answers in them are scored.

All other windows follow llama.cpp's `perplexity` tool: the whole text is tokenized at once, cut
into windows of `window_tokens`, the tail is dropped, and where the tokenizer begins texts with a
begin-of-text token the first token of each window is replaced by it. The first half of a window is
context. `generated` text is sampled from nothing at temperature 1 with nothing cut off, so that
each window is one draw from the model itself: the mean log-ratio on it estimates the
sequence-level KL(reference || artifact).

Why answers are the default: mean KL of three seeds each, and in brackets the relative standard
error of one of them, scaled to 8,000 scored tokens (llama.cpp on a CPU; 32 windows; answers of
SmolLM2: 8 windows, whose intervals are wide; one seed where there is one number; 512 tokens each):

                         answers, temperature 0.8          from nothing, temperature 1
    demo      Q8_0       0.0009 to 0.0012   (8 %)          0.00009 to 0.00014   (60 %)
              Q6_K       0.0051 to 0.0081   (9 to 15 %)    0.0008 to 0.0011     (70 %)
              Q4_K_M     0.032 to 0.040     (6 to 20 %)    0.0030 to 0.0061     (15 to 70 %)
              Q2_K       0.73 to 0.77       (4 %)          0.16 to 0.20         (9 %)
    SmolLM2   Q8_0       0.0042 to 0.0043   (7 to 14 %)    0.0045               (5 %)
              Q4_K_M     0.061 to 0.065     (3 to 16 %)    0.059                (5 %)
    stories   Q8_0       0.00076            (3 %)          0.0007 to 0.0008     (3 %)
    260K      Q5_0       0.026              (3 %)          0.025 to 0.027       (3 %)
              Q4_0       0.111              (3 %)          0.105 to 0.109       (3 %)

Both order the artifacts alike on every seed. Text from nothing drifts: SmolLM2 has a perplexity of
59 on it, 2.8 on its answers. On the demo it is so easy that a few tokens make up the mean: seeds
differ by a factor of two, intervals by more. Prompts that the reference does not know make answers
worse: with all of them asked stories260K had 0.037 to 0.039 (11 %) for Q5_0, the demo 0.05 for
Q4_K_M. WikiText-2 needs a file, and is not what is served.

A window of answers has about 370 scored tokens of 512, or 195 of 320, where one by llama.cpp's
convention has 255 of 512. Short ones are the default (`conversation_tokens`): a token costs least
where many are written side by side, and each is a cluster of its own. 20 of 320, five seeds:
SmolLM2's Q8_0 0.0040 to 0.0046 (4 to 12 %).

Tokens of one document belong together. Where a text has at least ten documents, the document is
the cluster that intervals respect; elsewhere (one book, generated text) the window is, which of
answers is one conversation.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.reference.conversations import SEEDS_APART, converse, find_recipe
from qgate.reference.wikitext import WIKITEXT_NAME, from_datasets, on_disk, read_official
from qgate.reference.windows import Windows, by_window
from qgate.runtimes.base import Sampling, require_context
from qgate.runtimes.verbs import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from qgate.records import Artifact
    from qgate.reference.conversations import Recipe
    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.thresholds import TextSettings

_MIN_DOCUMENTS = 10
_MAX_TEXT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text before it is tokenized; `documents` is None for one that is to be generated."""

    name: str
    digest: str
    """`sha256:...` of the documents, or of the recipe where it is generated."""
    documents: tuple[str, ...] | None
    recipe: Recipe | None = None
    """How it is generated where it is answers; None: from nothing, or there are documents."""

    @property
    def is_generated(self) -> bool:
        """Whether the reference writes it, as much of it as is wanted."""
        return self.documents is None


def find_text(settings: TextSettings, directory: Path, reference: Artifact | None = None) -> Text:
    """The text that the settings name; `auto` takes WikiText-2 from disk, else answers.

    Args:
        settings: the `text` section of the thresholds file.
        directory: where WikiText-2 is looked for, the working directory of the user.
        reference: whose answers are the text where none is named; None: one without a chat frame.

    Raises:
        MeasurementError: the file is missing, too large, changed, or holds no text.
        ArtifactError: the reference's files cannot be read.
    """
    if isinstance(settings.source, Path):
        official = read_official(settings.source)
        if official is not None:
            return Text(name=WIKITEXT_NAME, digest=official.digest, documents=official.articles)
        documents = _read_documents(settings.source)
        return Text(name=settings.source.name, digest=_digest(documents), documents=documents)
    if settings.source in ("auto", "wikitext-2"):
        found = on_disk(directory)
        if found is None and settings.source == "wikitext-2":
            found = from_datasets(directory)
        if found is not None:
            return Text(name=WIKITEXT_NAME, digest=found.digest, documents=found.articles)
    if settings.source == "generated":
        name = f"generated, seed {settings.seed}"
        return Text(name=name, digest=_digest((name,)), documents=None)
    recipe = find_recipe(settings, reference)
    return Text(name=recipe.name, digest=recipe.digest(), documents=None, recipe=recipe)


def is_written(settings: TextSettings, directory: Path) -> bool:
    """Whether the reference writes the text itself, which takes it a while.

    Raises:
        MeasurementError: what lies on disk as WikiText-2 is something else.
    """
    if isinstance(settings.source, Path) or settings.source == "wikitext-2":
        return False
    return settings.source != "auto" or on_disk(directory) is None


def _read_documents(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > _MAX_TEXT_BYTES:
            raise MeasurementError(f"{path}: text too large: expected at most 256 MiB")
        raw = path.read_bytes().decode()  # as it is: line ends are tokens too
        documents = _split(raw, path.suffix)
    except OSError as error:
        raise MeasurementError(f"{path}: cannot read the text: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise MeasurementError(
            f"{path}: cannot read the text: {error};"
            " expected UTF-8, JSON lines with a 'text' field, or a JSON list of strings"
        ) from error
    if not any(documents):
        raise MeasurementError(f"{path}: no text in it: got {len(raw)} characters without any")
    return tuple(documents)


def _split(raw: str, suffix: str) -> list[str]:
    documents: object
    if suffix == ".jsonl":
        documents = [json.loads(line)["text"] for line in raw.split("\n") if line.strip()]
    elif suffix == ".json":
        documents = json.loads(raw)
    else:
        documents = [raw]
    if not isinstance(documents, list) or not all(isinstance(one, str) for one in documents):
        raise TypeError("documents are not strings")
    return documents


def _digest(documents: tuple[str, ...]) -> str:
    whole = json.dumps(documents, ensure_ascii=True).encode()
    return f"sha256:{hashlib.sha256(whole).hexdigest()}"


def cut_windows(
    text: Text, settings: TextSettings, host: Host, facts: ModelFacts, first_round: int = 0
) -> Windows:
    """Tokenize (or generate) in the reference's own runtime and cut into windows.

    Args:
        text: what is cut.
        settings: the sizes.
        host: the reference's child.
        facts: of the reference.
        first_round: above 0: more of a generated text that already has so many times its windows.
    """
    if text.recipe is not None:
        return converse(text.recipe, settings, host, facts, first_round)
    size = min(settings.window_tokens, require_context(facts.context_length))
    if text.documents is None:
        seed = settings.seed + first_round * SEEDS_APART
        sampling = Sampling(sequences=settings.windows, tokens=size, seed=seed)
        return _windows(np.asarray(SAMPLE.ask(host, sampling).ids, dtype=np.int32))
    tokens = TOKENIZE.ask(host, "".join(text.documents))
    ids, spread = _spread(np.asarray(tokens.ids, dtype=np.int32), size, settings.windows)
    if facts.adds_bos and facts.bos is not None:
        ids[:, 0] = facts.bos
    if len(text.documents) < _MIN_DOCUMENTS:
        return _windows(ids)
    owners = _owners(text.documents, np.asarray(tokens.piece_bytes))
    rows = owners[spread[:, None] * size + np.arange(size)]
    clusters = rows[:, size // 2 + 1 :]
    every = np.ones(clusters.shape, dtype=bool)
    return Windows(ids=ids, clusters=clusters, clustered_by="document", scored=every)


def _spread(ids: np.ndarray, size: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` windows, evenly spread over the text; and their numbers."""
    available = len(ids) // size
    if available < 2:
        raise MeasurementError(
            f"text: too short: got {len(ids)} tokens; expected at least {2 * size}"
            " (two windows). Name a longer text, or set text.window_tokens lower"
        )
    count = min(most, available)
    numbers = np.arange(count) * available // count
    windows = ids[: available * size].reshape(available, size)
    return windows[numbers].copy(), numbers


def _windows(ids: np.ndarray) -> Windows:
    """Windows by llama.cpp's convention, each for itself."""
    clusters = by_window(ids, ids.shape[1] // 2)
    every = np.ones(clusters.shape, dtype=bool)
    return Windows(ids=ids, clusters=clusters, clustered_by="window", scored=every)


def _owners(documents: tuple[str, ...], piece_bytes: np.ndarray) -> np.ndarray:
    """Which document each token comes from, by the bytes that went before it.

    Tokenizers that add or normalise a few bytes shift a boundary by a token or two, which changes
    no interval; the scale takes care of those that change many.
    """
    ends = np.cumsum([len(document.encode()) for document in documents])
    reached = np.cumsum(piece_bytes) * (ends[-1] / max(int(piece_bytes.sum()), 1))
    owners: np.ndarray = np.searchsorted(ends, reached - 0.5, side="right").clip(
        0, len(documents) - 1
    )
    return owners.astype(np.int64)


def _sha256(ids: np.ndarray) -> str:
    return hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest()


def describe(text: Text, windows: Windows) -> dict[str, Any]:
    """What the report says of the text."""
    count, size = windows.ids.shape
    return {
        "name": text.name,
        "digest": text.digest if text.documents else f"sha256:{_sha256(windows.ids)}",
        "windows": count,
        "window_tokens": size,
        "scored_tokens": int(windows.scored.sum()),
        "clusters": len(np.unique(windows.owners)),
        "clustered_by": windows.clustered_by,
        **({"asked": windows.asked} if windows.asked else {}),
        **({"sampled": text.recipe.sampled} if text.recipe else {}),
    }
