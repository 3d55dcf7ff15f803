"""WikiText-2 (raw, test split), the corpus of the published perplexity tables, as its articles.

It is read from disk, or taken from the Hub by the `datasets` library. Either way it has to be the
official file, byte for byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from pathlib import Path

WIKITEXT_SHA256 = "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"
"""The official `wiki.test.raw`."""
WIKITEXT_NAME = "wikitext-2 (raw, test)"
_BYTES = 1_290_590
_PLACES = ("wiki.test.raw", "wikitext-2-raw/wiki.test.raw", ".qgate/wiki.test.raw")
_DATASET = ("Salesforce/wikitext", "wikitext-2-raw-v1")
_TITLE = re.compile(r"(?<=\n \n) = [^=\n]+ = (?=\n \n)")
"""Alone between empty lines, for formulas look like titles; the first article begins the file."""
_EMPTY_LINE = " \n"
"""Of the file; the dataset has an empty text in its place."""
_LONGEST_REASON = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class WikiText:
    """The test split."""

    digest: str
    articles: tuple[str, ...]


def on_disk(directory: Path) -> WikiText | None:
    """WikiText-2 in a directory; None where it is not there.

    Raises:
        MeasurementError: a file of its name is something else.
    """
    places = [directory / place for place in _PLACES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        return None
    name = f"Name it as text.source: {found.relative_to(directory)} to use it all the same"
    return _checked(found.read_bytes(), str(found), name)


def read_official(path: Path) -> WikiText | None:
    """A file that a user names, where it is WikiText-2 to the byte; None where it is not."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == _BYTES:
            raw = path.read_bytes()
            if hashlib.sha256(raw).hexdigest() == WIKITEXT_SHA256:
                return _checked(raw, str(path), "")
    return None


def from_datasets(directory: Path) -> WikiText:
    """WikiText-2 by its name, through the `datasets` library.

    Args:
        directory: where it was looked for before.

    Raises:
        MeasurementError: no such library, no network, or something else under that name.
    """
    where = f"text.source: WikiText-2 is not on disk ({', '.join(_PLACES)} in {directory})"
    remedy = "Put wiki.test.raw there, or write text.source: answers"
    try:
        import datasets
    except ImportError:
        raise MeasurementError(
            f"{where}, and the library that could fetch it is not installed:"
            f" pip install datasets. {remedy}"
        ) from None
    path, name = _DATASET
    try:
        rows = datasets.load_dataset(path, name, split="test")["text"]
        text = "".join(row or _EMPTY_LINE for row in rows)
    except Exception as error:
        reason = printable(" ".join(str(error).split()))[:_LONGEST_REASON]
        raise MeasurementError(
            f"{where} and cannot be fetched: {type(error).__name__}: {reason}. {remedy}"
        ) from error
    return _checked(text.encode(), f"{path} ({name})", remedy)


def _checked(raw: bytes, shown: str, remedy: str) -> WikiText:
    digest = hashlib.sha256(raw).hexdigest()
    if digest != WIKITEXT_SHA256:
        raise MeasurementError(
            f"{shown}: not the official WikiText-2 test split: got sha256 {digest[:12]}…; expected"
            f" {WIKITEXT_SHA256[:12]}…. {remedy}"
        )
    text = raw.decode()
    starts = [0, *(match.start() for match in _TITLE.finditer(text)), len(text)]
    articles = tuple(text[begin:end] for begin, end in itertools.pairwise(starts) if end > begin)
    return WikiText(digest=f"sha256:{digest}", articles=articles)
