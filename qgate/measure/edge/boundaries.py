"""`edge.empty_prompt` and `edge.context_limit`: nothing before the answer, and no room after it.

Both rows hold or not. The original's own behaviour is the standard: what it does not do either is
no damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qgate.errors import MeasurementError
from qgate.measure.edge.free_running import is_loop
from qgate.measure.measurement import Finding
from qgate.measure.work import Batch, Work
from qgate.runtimes.base import Prompt, Span

if TYPE_CHECKING:
    from qgate.measure.work import Pair, Speaker

_ANSWER_TOKENS = 32
_LAST_TOKENS = 16
"""Before the limit: what is looked at of a full context."""
_MOST_NATS = 3.0
"""More than so many nats a token above the original, and the last tokens are not read any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundaries:
    """The probe of both rows."""

    checks: ClassVar[tuple[str, ...]] = ("edge.empty_prompt", "edge.context_limit")
    fillers: tuple[str, ...]
    most_tokens: int

    def work(self, speaker: Speaker) -> Work:
        full = self._fill(speaker)
        nothing = np.array([speaker.first_token], dtype=np.int32)
        room = len(full) - _LAST_TOKENS
        prompts = (
            Prompt(ids=nothing, max_tokens=_ANSWER_TOKENS),
            Prompt(ids=full[:room], max_tokens=_LAST_TOKENS),
        )
        return Work(
            spans=(Span(ids=full, first=room),), batches=(Batch(prompts=prompts, side_by_side=1),)
        )

    def _fill(self, speaker: Speaker) -> np.ndarray:
        tokens = min(self.most_tokens, speaker.context_tokens)
        if tokens <= 2 * _LAST_TOKENS:
            raise MeasurementError(
                f"edge.context_limit: got a context of {tokens} tokens;"
                f" expected more than {2 * _LAST_TOKENS}"
            )
        text = np.concatenate(speaker.follow([f"{filler}\n" for filler in self.fillers]))
        first = np.array([speaker.first_token], dtype=np.int32)
        return np.concatenate([first, np.resize(text, tokens - 1)]).astype(np.int32)

    def read(self, pair: Pair) -> BoundaryFindings:
        return BoundaryFindings(pair=pair)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundaryFindings:
    """What both sides did at the two ends of the context."""

    pair: Pair

    def finding(self, check: str) -> Finding:
        return self._empty_prompt() if check == "edge.empty_prompt" else self._context_limit()

    def _empty_prompt(self) -> Finding:
        check, number = "edge.empty_prompt", 0
        artifact, reference = self.pair.artifact.answers[0], self.pair.reference.answers[0]
        own, theirs = artifact.ids[number], reference.ids[number]
        details = {"artifact": artifact.texts[number], "reference": reference.texts[number]}
        problem = ""
        if is_loop(own) and not is_loop(theirs):
            problem = "the answer is a loop; the original's is not"
        elif len(own) == 0 < len(theirs):
            problem = f"there is no answer; the original's has {len(theirs)} tokens"
        said = problem or f"it says {len(own)} tokens, the original {len(theirs)}"
        message = f"{check}: from nothing {said}"
        return Finding(check=check, holds=not problem, message=message, details=details)

    def _context_limit(self) -> Finding:
        check, number = "edge.context_limit", 1
        tokens = len(self.pair.work.spans[0].ids)
        artifact = float(self.pair.artifact.nll_nats[0].mean())
        reference = float(self.pair.reference.nll_nats[0].mean())
        given = len(self.pair.artifact.answers[0].ids[number])
        details = {
            "context_tokens": tokens,
            "last_tokens": _LAST_TOKENS,
            "nll_nats": artifact,
            "reference_nll_nats": reference,
            "answer_tokens": given,
        }
        holds = artifact - reference <= _MOST_NATS
        message = (
            f"{check}: the last {_LAST_TOKENS} of {tokens} tokens cost {artifact:.3g} nats each,"
            f" the original {reference:.3g}"
        )
        if not holds:
            message += f"; expected at most {_MOST_NATS:g} more"
        return Finding(check=check, holds=holds, message=message, details=details)
