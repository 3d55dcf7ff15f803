"""What a runtime can do, as protocols: every adapter is a `Runtime`, and what else it can be.

    Runtime          loads a model, reads and writes text, answers
    TextSource       writes text to be scored, or cuts a given one
    LogitsScorer     likelihoods and divergences from logits
    PromptReader     the same from log-probabilities (`qgate.runtimes.worker.prompt_logprobs`)
    WholeReader      and what came of whole rows (`qgate.runtimes.worker.whole_scoring`)
    MemoryReporter   what serving allocates

An adapter translates its library's exceptions and never computes a metric: the reductions over
the vocabulary are in `qgate.runtimes.worker.reductions`, the loop around them in
`qgate.runtimes.worker.main`. All of this runs in the child process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from qgate.confinement.processors import usable_processors
from qgate.errors import MeasurementError
from qgate.runtimes.spec import NoOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from qgate.records import RuntimeFacts

_Options = TypeVar("_Options")
Scoring = Literal["logits", "whole", "top_k", "none"]
"""What a loaded model is scored by: logits of the whole vocabulary; log-probabilities
of the tokens themselves and of the likeliest ones, with (`whole`) or without (`top_k`) what it can
reduce of whole rows where it computes them; nothing."""


class Progress(Protocol):
    """What an adapter calls while it works."""

    def __call__(
        self, what: str, done: int, total: int, at: tuple[int, int] | None = None, /
    ) -> None:
        """Tell how far it is.

        Args:
            what: e.g. `answering`.
            done: how many of `total` are through.
            total: how many there are.
            at: the first of the prompts or spans that are with the model from now on, and behind
                the last: what is named where the model fails on them. None: as told before.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """How a model is to be loaded."""

    path: str
    window_tokens: int
    """The longest sequence that will be scored or sampled."""
    threads: int | None = None
    """What the user wants; None: the runtime decides."""
    processors: int = field(default_factory=usable_processors)
    """That may be used: counted by the parent, as a confined child may not see its cgroup."""
    context_tokens: int | None = None
    """The longest sequence of the run, prompt and answer; None: as long as the model can."""
    quantize: Mapping[str, Any] | None = None
    """How unquantized weights are to be quantized while they are loaded; None: as they are."""
    options: object = field(default_factory=NoOptions)
    """This runtime's own section of the thresholds file: an instance of `RuntimeSpec.options`."""
    trust_remote_code: bool = False
    """Whether the user allowed the code that the model brings; read by those that could run any."""

    def options_as(self, kind: type[_Options]) -> _Options:
        """The options of a runtime that has these; the defaults where none were given."""
        return self.options if isinstance(self.options, kind) else kind()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What the runtime says of the model it loaded."""

    n_vocab: int
    width: int | None = None
    """Size of the final hidden state that the output matrix is applied to; this and what else is
    None: not known."""
    n_params: int | None = None
    context_length: int | None
    """Tokens, as trained."""
    bos: int | None
    adds_bos: bool
    """Whether text begins with `bos` by the tokenizer's own rule."""
    first_token: int
    """What a text generated from nothing begins with: `bos`, else the end-of-text token."""
    end_tokens: tuple[int, ...]
    """What ends an answer by the file's own word: its end-of-text and end-of-turn tokens."""
    weights_bytes: int | None = None
    load_s: float
    scoring: Scoring = "logits"
    kernel: str = ""
    """What multiplies the weight matrices, by the library's own names; empty where there is but
    one way."""


def require_context(tokens: int | None) -> int:
    """The longest sequence that a model was trained for.

    Raises:
        MeasurementError: neither its files nor its runtime know.
    """
    if tokens is None:
        raise MeasurementError(
            "context length: got none from the runtime nor from the model's files; expected"
            " max_position_embeddings in config.json. Add it there"
        )
    return tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A sequence of which the tokens after position `first` are scored."""

    ids: np.ndarray
    """Shape (n,), int32."""
    first: int
    """0 <= first < n - 1; the tokens at first + 1 ... n - 1 are scored."""
    name: str = field(default="", compare=False)
    """What messages call it; no part of what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is to be answered, and how long the answer may be."""

    ids: np.ndarray
    """Shape (n,), int32, n > 0."""
    max_tokens: int
    stops: tuple[str, ...] = ()
    """Of the answer nobody reads on behind one of these: it may end there
    (`qgate.runtimes.worker.stop_strings`).
    """
    name: str = field(default="", compare=False)
    """What messages call it; no part of what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A greedy answer."""

    ids: np.ndarray
    """Shape (n,), int32, without the token that ended it."""
    end: int | None
    """The token at which this runtime stops by itself; None where the answer reached its length or
    a stop string."""
    margins_nats: np.ndarray
    """How much more likely each token was than the next best, that of `end` too; float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """What the library says that it allocated to serve one sequence, in bytes."""

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    """Scratch and output buffers."""
    context_tokens: int
    """Cells of the KV cache that `kv_cache_bytes` holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """How a token is drawn, in the order of llama.cpp's samplers: top_k, top_p, min_p, temperature.

    The defaults cut nothing off.
    """

    temperature: float = 1.0
    """Above 0."""
    top_k: int = 0
    """0: any number of tokens."""
    top_p: float = 1.0
    min_p: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How text is sampled from the model itself: from nothing, or as answers in conversations."""

    sequences: int
    tokens: int
    """Length of each sequence, its first token included."""
    seed: int
    heat: Heat = field(default_factory=Heat)
    turns: tuple[tuple[np.ndarray, ...], ...] = ()
    """What is said to the model in each sequence, one array of ids a turn: the first begins the
    sequence, each other one follows an answer; enough of them to fill it. Empty: nothing is said,
    and no token ends anything."""
    answer_tokens: int = 0
    """The longest answer to a turn."""
    ends: tuple[int, ...] = ()
    """Tokens that end an answer. A turn that begins with one loses it behind an answer that ended:
    the model has said it itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What a model wrote."""

    ids: np.ndarray
    """Shape (sequences, tokens), int32."""
    answers: np.ndarray
    """The turn that each token is the model's answer to, counted from 0 in its sequence, ends of
    answers included; -1 of what was given. The same shape, int32."""


class Runtime(Protocol):
    """One library that can hold one model, and have it answer: what every adapter does.

    What else an adapter can do is a protocol of its own below; it has the members of those that it
    fulfils and no others. Not thread-safe; one call at a time.
    """

    def describe(self) -> RuntimeFacts:
        """What is installed, without a model.

        Raises:
            RuntimeUnavailable: the library is not there; the message names the install command.
        """

    def load(self, settings: LoadSettings) -> ModelFacts:
        """Load the model.

        Raises:
            ArtifactError: the library refuses the file; the message carries its own reason.
        """

    def encode(self, text: str, *, begins: bool) -> np.ndarray:
        """Token ids of a prompt or of what follows one, special tokens in the text parsed.

        Args:
            text: e.g. a chat with its markers.
            begins: whether it begins a sequence: the tokenizer's begin-of-text goes before it.

        Returns:
            Shape (n,), int32.
        """

    def decode(self, ids: np.ndarray) -> str:
        """The text of token ids, special tokens left out; what is no UTF-8 is replaced."""

    def answer(
        self, prompts: Sequence[Prompt], batch_size: int, progress: Progress
    ) -> list[Answer]:
        """Greedy answers, one for each prompt in their order.

        Args:
            prompts: what to answer.
            batch_size: how many are decoded at a time; 1: each alone.
            progress: told now and then, which of the prompts are with the model.
        """

    def stream(self, ids: np.ndarray, count: int) -> Iterator[int]:
        """Greedy tokens after a prompt, each as soon as it is known; nothing is reused from before.

        Args:
            ids: the prompt, shape (n,), int32.
            count: exactly so many are generated; end-of-text does not end it.
        """

    def close(self) -> None:
        """Free the model; the object is not used again."""


@runtime_checkable
class TextSource(Protocol):
    """What is needed to write or cut the text that likelihoods are measured on."""

    def tokenize(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of a whole text, special tokens added as the tokenizer says, none parsed.

        Returns:
            ids: shape (n,), int32. piece_bytes: shape (n,), int32, UTF-8 length of each piece.
        """

    def sample(self, sampling: Sampling, progress: Progress) -> Sampled:
        """Text of the model's own, from nothing or as answers."""


@runtime_checkable
class LogitsScorer(Protocol):
    """A runtime that gives logits: likelihoods and divergences are exact.

    Its `ModelFacts.scoring` is `logits`.
    """

    def logits_of_windows(
        self, windows: np.ndarray, first: int, *, with_hidden: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Logits after the tokens at positions `first` and later of each window.

        As many windows at a time as are fastest. The logits of a window do not depend on the
        others, nor on whether hidden states are wanted.

        Args:
            windows: shape (count, n), int32, each a sequence from its beginning.
            first: first position wanted, 0 <= first < n, the same in each.
            with_hidden: whether the final hidden states are wanted, to which the output matrix is
                applied.

        Yields:
            Logits, shape (windows, rows, n_vocab), float32, and hidden states, shape (windows,
            rows, width), float32, or None: windows in their order, in parts that are either some
            of them whole or some rows of one, so that what is held at a time need not grow with
            them; each a view that the next step overwrites.
        """

    @property
    def tokens_per_pack(self) -> int:
        """How many tokens of short sequences `logits_of_spans` takes together."""

    def logits_of_spans(self, spans: Sequence[Span]) -> Iterator[np.ndarray]:
        """Logits after the tokens at positions `first` ... n - 2 of each sequence.

        Args:
            spans: at most 64; more than one only within `tokens_per_pack`.

        Yields:
            Rows in the order of the spans, shape (rows, n_vocab), float32, in parts of the
            runtime's choice; each a view that the next step overwrites.
        """


@runtime_checkable
class MemoryReporter(Protocol):
    """A runtime that knows what it allocates."""

    def fill_context(self, tokens: int) -> Buffers:
        """Serve one sequence of `tokens` to its end and say what that allocated.

        Raises:
            MeasurementError: the library reports nothing that can be read.
        """
