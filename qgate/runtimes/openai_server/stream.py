"""Tokens of a streamed answer, one by one, or an error where their times cannot be told apart."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError
from qgate.untrusted.text import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from qgate.runtimes.openai_server.dialect import Event

UNKNOWN_TOKEN = -1
"""Of a stream that tells that a token came, but not which."""
_TOGETHER_S = 1e-4
"""No model says two tokens of one answer within that: they were held back and came together."""
_MOST_TOGETHER = 0.5
"""Share of tokens; up to that the median gap is still one that was waited for."""


def one_by_one(
    events: Generator[object, None, None], read: Callable[[object], Event], count: int
) -> Iterator[int]:
    """Tokens as they come, each in an event of its own.

    Where no ids are told an event with text has at least one token; as many events as tokens then
    have one each.

    Args:
        events: as they come; closed in any case.
        read: what an event says.
        count: so many tokens were asked for.

    Raises:
        MeasurementError: several came at once, or not exactly `count`.
    """
    known, together, finish, last_s = 0, 0, "", -1.0
    with closing(events):
        for value in events:
            event = read(value)
            ids = _ids_of(event)
            finish = event.finish or finish
            known += len(ids)
            if known > count:
                raise MeasurementError(
                    f"openai_server: lost count: got more than {count} tokens; expected {count}"
                )
            if ids:
                now_s = time.perf_counter()
                together += now_s - last_s < _TOGETHER_S
                last_s = now_s
            yield from ids
    if known != count or finish != "length":
        raise MeasurementError(
            f"openai_server: lost tokens: got {known} events with a token, the last one with"
            f" {quoted(finish)}; expected {count} and 'length'. A token that is half a character"
            " comes with the next one, and its time is not known"
        )
    if together > _MOST_TOGETHER * count:
        raise MeasurementError(
            f"openai_server: the stream is held back: got {together} of {count} tokens together"
            " with the one before; expected each when it is known. Name the server's own address"
            " instead of a proxy's, or measure on a machine that keeps up"
        )


def _ids_of(event: Event) -> tuple[int, ...]:
    """The token of an event, if it has one."""
    ids = event.ids
    if ids is None:
        return (UNKNOWN_TOKEN,) if event.text else ()
    if len(ids) > 1:
        raise MeasurementError(
            f"openai_server: got {len(ids)} tokens in one event of the stream; expected one:"
            " their times cannot be told apart. Serve the model without speculative decoding"
            " and with a stream interval of 1"
        )
    return ids
