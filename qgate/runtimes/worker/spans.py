"""Scores sequences of any lengths in the child: choices, documents, long inputs.

    nll     = logsumexp(z) - z[target]    nats, of every token after a sequence's `first` position
    is_top  = z[target] is the largest    what greedy decoding would have said

Sequences are packed in their order, whatever the model answers, so that reference and artifact are
decoded in the very same calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.messages import SpanScores
from qgate.runtimes.worker import reductions
from qgate.runtimes.worker.scoring import lost_rows
from qgate.runtimes.worker.threads import ThreadTeam

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import LogitsScorer, Progress, Span

MOST_TOGETHER = 64


def score_spans(runtime: LogitsScorer, spans: Sequence[Span], progress: Progress) -> SpanScores:
    """Of every scored token."""
    nll: list[np.ndarray] = []
    tops: list[np.ndarray] = []
    with ThreadTeam() as team:
        for pack in packs(spans, runtime.tokens_per_pack):
            progress("scoring", len(nll), len(spans), (len(nll), len(nll) + len(pack)))
            found = _score_pack(runtime, pack, team)
            sizes = [len(span.ids) - 1 - span.first for span in pack]
            for values, parts in ((nll, found[0]), (tops, found[1])):
                values += np.split(parts, np.cumsum(sizes)[:-1])
    return SpanScores(nll_nats=tuple(nll), is_top=tuple(tops))


def packs(spans: Sequence[Span], tokens: int) -> Iterator[list[Span]]:
    """Neighbours that fit into so many tokens; one that does not fit goes alone."""
    pack: list[Span] = []
    for span in spans:
        held = sum(len(one.ids) for one in pack)
        if pack and (held + len(span.ids) > tokens or len(pack) == MOST_TOGETHER):
            yield pack
            pack = []
        pack.append(span)
    if pack:
        yield pack


def _score_pack(
    runtime: LogitsScorer, pack: Sequence[Span], team: ThreadTeam
) -> tuple[np.ndarray, np.ndarray]:
    targets = np.concatenate([span.ids[span.first + 1 :] for span in pack])
    nll, tops = np.empty(len(targets)), np.empty(len(targets), dtype=bool)
    done = 0
    for logits in runtime.logits_of_spans(pack):
        rows = slice(done, done + len(logits))
        if rows.stop > len(targets):
            raise lost_rows(rows.stop, len(targets))
        if rows.stop == rows.start:
            continue
        normalizers = reductions.log_normalizers(logits[None], team)
        wanted = targets[rows]
        nll[rows] = reductions.negative_log_likelihood(logits[None], normalizers, wanted[None])[0]
        tops[rows] = logits.argmax(axis=-1) == wanted
        done = rows.stop
    if done != len(targets):
        raise lost_rows(done, len(targets))
    if not np.isfinite(nll).all():
        raise MeasurementError("logits are not finite while sequences are scored")
    return nll, tops
