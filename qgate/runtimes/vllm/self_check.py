"""Whether an engine's prompt log-probabilities can be trusted: asked when a model is loaded.

Past versions of vLLM told wrong ones: of other requests in the same batch, of other positions where
a prompt was read in parts, of logits that were processed already. So some sequences are scored one
by one, together, and together in reverse order; and the last token of each is one that the model
itself has just generated, with the log-probability that it said then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.base import Span
from qgate.runtimes.worker.prompt_logprobs import PromptReader, checked_readings

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (48, 7, 96, 21)
"""Tokens of the sequences; of several lengths, so that rows of one cannot pass for another's."""
MEAN_NATS, MOST_NATS = 0.05, 1.0
"""How far apart the same token's log-probabilities may be. vLLM's CPU build gives the same to the
last bit, in 32 and in 16 bits. Where other batches take other kernels, bfloat16 rounds a logit of
30 by up to 0.06; those of another token are several nats away."""
_TOP = 5
_SEED = 0
_FIRST_ORDINARY_TOKEN = 3


class Continuing(PromptReader, Protocol):
    """What also generates."""

    def next_tokens(self, prompts: Sequence[np.ndarray]) -> list[tuple[int, float]]:
        """The greedy token after each prompt and its log-probability, nats."""


def check_log_probabilities(runtime: Continuing, n_vocab: int, longest: int) -> None:
    """Score a few sequences in several ways.

    Raises:
        MeasurementError: the same tokens are not as likely each time.
    """
    prompts = _prompts(n_vocab, longest)
    said = runtime.next_tokens(prompts)
    spans = [
        Span(ids=np.append(ids, np.int32(token)), first=0)
        for ids, (token, _) in zip(prompts, said, strict=True)
    ]
    alone = [found for span in spans for found in _read(runtime, [span])]
    _require_near("alone and together", alone, _read(runtime, spans))
    _require_near("in two orders", alone, _read(runtime, spans[::-1])[::-1])
    generated = [np.array([logprob]) for _, logprob in said]
    _require_near("generated and read", generated, [found[-1:] for found in alone])


def check_named_tokens(runtime: PromptReader, n_vocab: int, longest: int) -> None:
    """Ask for tokens by name and compare with what is told of them anyway.

    Raises:
        MeasurementError: they are not told, or not the same.
    """
    spans = [Span(ids=ids, first=len(ids) // 3) for ids in _prompts(n_vocab, longest)]
    told = list(runtime.read_prompts(spans, _TOP))
    named = list(runtime.read_prompts(spans, 1, [reading.top_ids for reading in told]))
    found = [reading.named_logprobs for reading in named]
    for one, other in zip(found, told, strict=True):
        if one is None or one.shape != other.top_logprobs.shape:
            raise MeasurementError("lost samples: got no log-probabilities of named tokens")
        _require_near("named and ranked", [one.reshape(-1)], [other.top_logprobs.reshape(-1)])


def _prompts(n_vocab: int, longest: int) -> list[np.ndarray]:
    rng = np.random.default_rng(_SEED)
    low = min(_FIRST_ORDINARY_TOKEN, n_vocab - 1)
    sizes = [min(size, longest - 1) for size in SIZES]
    return [rng.integers(low, n_vocab, size).astype(np.int32) for size in sizes]


def _read(runtime: Continuing, spans: Sequence[Span]) -> list[np.ndarray]:
    return [reading.logprobs for reading in checked_readings(runtime, spans, _TOP)]


def _require_near(how: str, one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> None:
    gaps = np.abs(np.concatenate(one) - np.concatenate(other))
    if gaps.mean() <= MEAN_NATS and gaps.max() <= MOST_NATS:
        return
    raise MeasurementError(
        f"this runtime's prompt log-probabilities cannot be trusted: the same tokens, {how}: got"
        f" differences of {gaps.mean():.3g} nats on average and {gaps.max():.3g} at most; expected"
        f" {MEAN_NATS} and {MOST_NATS}. Serve the model in another version or runtime"
    )
