"""The shipped limits on `perplexity.increase` are figures of one text: where they are judged.

They were published of WikiText-2 and a model whose perplexity there is 6.233. A perplexity rises
by a factor, so that at a perplexity of 26 the same damage is four times as large a number: the
limit is scaled by the reference's perplexity. On another text nobody published anything; the row is
shown.
A limit that a user wrote is judged as it stands, on any text.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Limit

CHECK = "perplexity.increase"
PUBLISHED_PERPLEXITY = 6.233
"""Of Llama-3-8B f16 on WikiText-2 in windows of 512 (README of llama.cpp's perplexity tool)."""
_TEXT = "wikitext-2 (raw, test)"
"""How the text that the limits are of is called (`qgate.reference.wikitext`)."""


def settle(check: str, limit: Limit | None, details: Mapping[str, Any]) -> tuple[Limit | None, str]:
    """The limit that a row is judged by, and in words how it came about.

    Args:
        check: the row.
        limit: which the thresholds files set; None where they set none.
        details: of the row: `text`, and `reference_perplexity` on it.

    Returns:
        None in place of a limit that is not for this text. The words are empty where the limit
        stands as it is written.
    """
    if check != CHECK or limit is None or not limit.source.is_shipped or limit.max is None:
        return limit, ""
    text, perplexity = str(details.get("text", "")), details.get("reference_perplexity")
    if perplexity is None:
        return limit, ""
    if text != _TEXT:
        return None, (
            f"shown, not judged: its shipped limits are of WikiText-2, the text is"
            f" {text or 'another'}. To judge it here write limits: {{{CHECK}: {{max: 0.5}}}}"
        )
    scaled = limit.max * float(perplexity) / PUBLISHED_PERPLEXITY
    words = (
        f"limit {limit.max:g} at a perplexity of {PUBLISHED_PERPLEXITY:g},"
        f" scaled to the reference's {float(perplexity):.4g}"
    )
    return dataclasses.replace(limit, max=scaled), words
