"""What no runtime can have answered: numbers that cannot be, token ids that are none, lost pieces.

A hostile artifact may have taken its runtime over, and libraries have bugs: here is the one place
where what a child says, or what was kept of it, is held against what it was asked. NaN is in no
range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.messages import NO_END
from qgate.untrusted.text import seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.runtimes.base import ModelFacts, Sampled, Sampling, Span
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

_ROUNDING_NATS = 1e-3
"""A likelihood, a divergence or a lead may be so much below zero, a log-probability above."""
_LEAST_LEAD_NATS = -0.1
"""Of a token that greedy decoding chose, where a server computes in 16 bits."""
_COUNTS = 2**63
_IDS = 2**31
_LETTERS_A_TOKEN = 4096
"""No tokenizer has a longer token."""


class Impossible(ValueError):  # noqa: N818 - a state of an answer
    """What is wrong, as `nll_nats: got nan; expected ...`."""


def require_facts(_: object, facts: ModelFacts, __: int | None) -> None:
    """Of a model that was loaded."""
    if not 0 < facts.n_vocab < _IDS:
        raise Impossible(f"n_vocab: got {facts.n_vocab}; expected 1 to {_IDS - 1} tokens")
    counts = ("width", "n_params", "context_length", "weights_bytes")
    _require_counts(facts, [name for name in counts if getattr(facts, name) is not None])
    _within("load_s", _array(facts.load_s), 0.0, expected="seconds")
    _ids("first_token", _array(facts.first_token), facts.n_vocab)
    # a file may name tokens that its output matrix does not have
    _ids("end_tokens", _array(*facts.end_tokens), _IDS)
    _ids("bos", _array(facts.first_token if facts.bos is None else facts.bos), _IDS)


def require_tokens(_: str, found: Tokens, n_vocab: int | None) -> None:
    """Of one text."""
    _ids("ids", found.ids, n_vocab)
    _size("piece_bytes", found.piece_bytes, len(found.ids))
    _within("piece_bytes", found.piece_bytes, 0, _IDS, expected="bytes")


def require_encoded(asked: Texts, found: tuple[np.ndarray, ...], n_vocab: int | None) -> None:
    """Of several texts."""
    if len(found) != len(asked.texts):
        raise MeasurementError(f"lost texts: got ids of {len(found)}; expected {len(asked.texts)}")
    for ids in found:
        _ids("ids", ids, n_vocab)


def require_sampled(asked: Sampling, found: Sampled, n_vocab: int | None) -> None:
    """Of text that the model wrote."""
    wanted = (asked.sequences, asked.tokens)
    if found.ids.shape != found.answers.shape or found.ids.shape != wanted:
        raise MeasurementError(
            f"text: lost tokens: got windows of shape {found.ids.shape}; expected {wanted}"
        )
    _ids("ids", found.ids.reshape(-1), n_vocab)
    _ids("answers", found.answers.reshape(-1), _IDS, least=-1)


def require_scored(asked: ScoreRequest, found: Scored, n_vocab: int | None) -> None:
    """Of windows."""
    count, kept = len(asked.windows), len(asked.windows) * asked.kept_per_window
    scored = count * asked.scored_per_window
    if found.nll_nats is not None:
        _likelihoods(found.nll_nats, scored)
    if found.kl_nats is not None:
        _size("divergences", found.kl_nats, kept)
        # the reference's from what is kept of itself may be none: it is then kept in another way
        if asked.stored is None or asked.anchors is not None:
            _within("kl_nats", found.kl_nats, -_ROUNDING_NATS, expected="nats >= 0")
    if found.same_top is not None:
        _booleans("same_top", found.same_top, kept)
    if found.covered_mass is not None:
        _size("covered masses", found.covered_mass, kept)
        _within("covered_mass", found.covered_mass, 0.0, 1.0, expected="probabilities")
    if found.anchors is not None:
        _size("anchors", found.anchors, kept)
        _within("anchors", found.anchors, None, expected="finite numbers")
    if found.top_logprobs is not None:
        _size("top_logprobs", found.top_logprobs, kept)
        _within("top_logprobs", found.top_logprobs, None, _ROUNDING_NATS, expected="nats <= 0")
    if found.tops is not None:
        _size("tops", found.tops, kept)
        _ids("tops", found.tops, n_vocab)
    _within("total_s and decode_s", _array(found.total_s, found.decode_s), 0.0, expected="seconds")


def require_span_scores(asked: Sequence[Span], found: SpanScores, _: int | None) -> None:
    """Of sequences."""
    wanted = [len(span.ids) - 1 - span.first for span in asked]
    for parts in (found.nll_nats, found.is_top):
        if [len(one) for one in parts] != wanted:
            raise MeasurementError(
                f"lost samples: got {sum(map(len, parts))} scored tokens in {len(parts)} sequences;"
                f" expected {sum(wanted)} in {len(wanted)}"
            )
    for nll, is_top, size in zip(found.nll_nats, found.is_top, wanted, strict=True):
        _likelihoods(nll, size)
        _booleans("is_top", is_top, size)


def require_answers(asked: Batch, found: Answers, n_vocab: int | None) -> None:
    """Of prompts; a server's text may be of more tokens than it counted itself."""
    count = len(asked.prompts)
    if not len(found.ids) == len(found.texts) == len(found.ends) == count:
        raise MeasurementError(
            f"lost answers: got {len(found.ids)}; expected {count}, one a prompt"
        )
    _ids("ends", found.ends, n_vocab, least=NO_END)
    wanted = [len(one) + (end != NO_END) for one, end in zip(found.ids, found.ends, strict=True)]
    if [len(one) for one in found.margins_nats] != wanted:
        raise MeasurementError(
            f"lost tokens: got the margins of {sum(map(len, found.margins_nats))};"
            f" expected {sum(wanted)}"
        )
    for ids, text, leads in zip(found.ids, found.texts, found.margins_nats, strict=True):
        _ids("ids", ids, n_vocab)
        # infinite: the margin of a token of which a server tells none
        low = _LEAST_LEAD_NATS
        _within("margins_nats", leads, low, expected="nats >= 0", may_be_infinite=True)
        if len(text) > _LETTERS_A_TOKEN * (len(ids) + 1):
            raise Impossible(f"texts: got {len(text)} letters; expected those of {len(ids)} tokens")


def require_times(_: TimedRequest, found: np.ndarray, __: int | None) -> None:
    """Of tokens; how many there have to be, who asked knows."""
    _within("times", found.reshape(-1), 0.0, expected="seconds")


def require_context_memory(_: int, found: ContextMemory, __: int | None) -> None:
    """Of a full context."""
    _require_counts(found, ["pss_before_bytes", "pss_bytes", "peak_rss_bytes"])
    buffers = ("weights_bytes", "kv_cache_bytes", "compute_bytes", "context_tokens")
    _require_counts(found.buffers, buffers)


def require_sizes(_: Repeats, found: np.ndarray, __: int | None) -> None:
    """Of memory after each request; how many there have to be, who asked knows."""
    _within("sizes", found.reshape(-1), 0, _COUNTS, expected="bytes")


def _require_counts(found: object, names: Sequence[str]) -> None:
    for name in names:
        value = getattr(found, name)
        if not 0 <= value < _COUNTS:
            raise Impossible(f"{name}: got {seen(value)}; expected a count")


def _array(*values: float) -> np.ndarray:
    return np.array(values)


def _size(what: str, found: np.ndarray, wanted: int) -> None:
    if found.shape != (wanted,):
        raise MeasurementError(f"lost samples: got {found.size} {what}; expected {wanted}")


def _likelihoods(found: np.ndarray, wanted: int) -> None:
    _size("scored tokens", found, wanted)
    _within("nll_nats", found, -_ROUNDING_NATS, expected="nats >= 0")


def _booleans(name: str, found: np.ndarray, wanted: int) -> None:
    _size("likeliest tokens", found, wanted)
    if found.dtype.kind != "b":
        raise Impossible(f"{name}: got {found.dtype}; expected true or false")


def _ids(name: str, found: np.ndarray, n_vocab: int | None, *, least: int = 0) -> None:
    most = (_IDS if n_vocab is None else n_vocab) - 1
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        raise Impossible(
            f"{name}: got {found.dtype} in {found.ndim} dimensions; expected token ids"
        )
    _within(name, found, least, most, expected=f"token ids from {least} to {most}")


def _within(
    name: str,
    found: np.ndarray,
    least: float | None,
    most: float | None = None,
    *,
    expected: str,
    may_be_infinite: bool = False,
) -> None:
    if found.dtype.kind not in "fiu":
        raise Impossible(f"{name}: got {found.dtype}; expected {expected}")
    is_fine = ~np.isnan(found) if may_be_infinite else np.isfinite(found)
    if least is not None:
        is_fine &= found >= least
    if most is not None:
        is_fine &= found <= most
    if not is_fine.all():
        raise Impossible(f"{name}: got {found[~is_fine][0]:.6g}; expected {expected}")
