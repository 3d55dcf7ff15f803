"""The original's answers to a piece of work, stored beside its distributions.

An entry is named by the digest of the original, of the work and of the runtime, so that the next
artifact, and the next run, ask the original nothing.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from qgate.entries import get_or_make, name_entry
from qgate.measure import work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.measure.work import Outcome, Work
    from qgate.records import RuntimeFacts

FORMAT = 2
"""Part of every name: raised when an entry's meaning changes."""


class OutcomeStore:
    """Entries under one directory; safe for several runs at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def get_or_perform(
        self, asked: Work, original: str, runtime: RuntimeFacts, perform: Callable[[], Outcome]
    ) -> Outcome:
        """What the original answers to this work.

        Args:
            asked: the work.
            original: digest of the original's files.
            runtime: what serves it.
            perform: asks it, where the store does not know.

        Raises:
            QGateError: whatever kept it from answering.
        """
        made_of: dict[str, Any] = {
            "format": FORMAT,
            "kind": "outcome",
            "weights_and_tokenizer": original,
            "work": asked.digest(),
            "runtime": dataclasses.asdict(runtime),
        }
        name = name_entry(made_of)

        def make(directory: Path) -> dict[str, Any]:
            return {"key_made_of": made_of, **work.save(perform(), directory)}

        entry, _ = get_or_make(self._directory, name, make)
        return work.read(self._directory / name, entry)
