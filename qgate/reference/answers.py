"""The reference's answers to a piece of work, stored beside its distributions.

An entry is named by the digest of the reference, of the work and of the runtime, so that the next
artifact, and the next run, ask the reference nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from qgate.artifacts.digest import name_entry
from qgate.reference.store import Store
from qgate.runtimes import requests as work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from qgate.records import RuntimeFacts
    from qgate.runtimes.requests import Outcome, Work

FORMAT = 4
"""Part of every name: raised when an entry's meaning changes."""


class OutcomeStore:
    """Outcomes in a store, by what was asked of whom."""

    def __init__(self, store: Store | Path) -> None:
        self._store = store if isinstance(store, Store) else Store(store)

    def get_or_perform(
        self,
        asked: Work,
        reference: str,
        runtime: RuntimeFacts,
        perform: Callable[[], Outcome],
        loaded: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """What the reference answers to this work.

        Args:
            asked: the work.
            reference: digest of the reference's files.
            runtime: what serves it.
            perform: asks it, where the store does not know.
            loaded: how it is loaded, as far as that may change answers.

        Raises:
            QGateError: whatever kept it from answering.
        """
        made_of: dict[str, Any] = {
            "format": FORMAT,
            "kind": "outcome",
            "weights_and_tokenizer": reference,
            "work": asked.digest(),
            "runtime": dataclasses.asdict(runtime),
            "loaded": dict(loaded or {}),
        }
        name = name_entry(made_of)
        entry = self._store.find(name)
        if entry is not None:
            with contextlib.suppress(OSError):  # somebody removes the store
                return work.read(entry.place, entry.facts)
        outcome = perform()
        self._store.keep(name, lambda place: {"key_made_of": made_of, **work.save(outcome, place)})
        return outcome
