"""Which pieces of a work a child was being asked when it failed.

Told and no more: the row is void whatever the others answered. Nothing is asked again to find the
one that does it; what fails may depend on what was asked beside it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qgate.errors import QGateError, reworded
from qgate.untrusted.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.errors import Reached
    from qgate.runtimes.base import Prompt, Span

_LONGEST_NAME = 60


@contextmanager
def naming_asked(pieces: Sequence[Prompt | Span], kind: str) -> Iterator[None]:
    """Name the pieces that were with the model, in the line of an error and in its details.

    Args:
        pieces: what the child is asked in this block, in order.
        kind: what one is called that has no name of its own, by its place.
    """
    try:
        yield
    except QGateError as error:
        asked = _asked(pieces, kind, error.reached)
        if error.reached is None or not asked:
            raise
        done, total = error.reached.done, error.reached.total
        shown = listed([name[:_LONGEST_NAME] for name in asked])
        failure = reworded(
            error, f"{error} (asked at the time: {shown}, after {done} of {total} {kind}s)"
        )
        failure.details = {"asked_when_failed": asked, "done": done, "total": total}
        raise failure from error


def _asked(pieces: Sequence[Prompt | Span], kind: str, reached: Reached | None) -> list[str]:
    """Names in order, each once; empty where the runtime told nothing that can be so."""
    if reached is None or not 0 <= reached.done <= reached.total == len(pieces):
        return []
    if not 0 <= reached.first < reached.stop <= len(pieces):
        return []
    places = range(reached.first, reached.stop)
    return list(dict.fromkeys(pieces[at].name or f"{kind} {at + 1}" for at in places))
