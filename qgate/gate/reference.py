"""The reference, in every runtime in which artifacts are held against it.

An artifact is held against the reference in its own runtime where both load there; what differs
then is the artifact's doing. Elsewhere the reference stays at home, in the runtime that is its own
choice, and the difference of the two runtimes is part of every row; the report says so.

All runtimes score the windows that the reference's home has cut, so that its perplexity in two of
them is a measurement of what the runtimes themselves differ by.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from typing import TYPE_CHECKING, Any

from qgate import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qgate.gate.memo import Memo
    from qgate.gate.processes import ModelProcesses, RunSettings
    from qgate.records import Artifact
    from qgate.reference.distributions import Reference
    from qgate.runtimes.served_model import ServedModel


class References:
    """Answers for the reference; every one of them by runtime."""

    def __init__(self, settings: RunSettings, children: ModelProcesses, memo: Memo) -> None:
        self._plan, self._children, self._memo = settings.plan, children, memo
        self._headlines: dict[str, list[dict[str, float]]] = {}

    def serving_for(self, artifact: Artifact) -> ServedModel:
        """The reference's child that the artifact is held against.

        Raises:
            QGateError: there is no reference, or nothing serves it.
        """
        runtime = self._plan.reference_runtime_of(artifact)
        return self._children.serve_reference(runtime)

    def reference_for(self, artifact: Artifact) -> Reference:
        """The reference's likelihoods and distributions, from the store or measured now.

        Raises:
            QGateError: there is none, or it could not be measured; the same each time.
        """
        return self._reference_in(self._plan.reference_runtime_of(artifact))

    def extension_of(
        self, reference: Reference, artifact: Artifact
    ) -> Callable[[], Reference] | None:
        """What measures the reference on as many windows more; None: there are none, or shall be.

        Args:
            reference: the reference on the windows that are there.
            artifact: that is held against it.
        """
        settings = self._plan.thresholds.text
        if not (settings.extend and reference.text.is_generated):
            return None
        runtime = self._plan.reference_runtime_of(artifact)
        return lambda: self._reference_in(runtime, self._rounds_at_home())

    def _rounds_at_home(self) -> int:
        """How many times the windows of the settings the reference wrote already."""
        home = self._reference_in(self._plan.reference_runtime_of())
        return len(home.windows.ids) // self._plan.thresholds.text.windows

    def _reference_in(self, runtime: str, first_round: int = 0) -> Reference:
        key = ("extension" if first_round else "reference", runtime)
        return self._memo.get_or_compute(key, lambda: self._measure(runtime, first_round))

    def _measure(self, runtime: str, first_round: int) -> Reference:
        from qgate.reference.distributions import Plan, ReferenceStore
        from qgate.reference.texts import find_text

        home = self._plan.reference_runtime_of()
        windows = None if runtime == home else self._reference_in(home, first_round).windows
        reference, text = self._plan.require_reference(), self._plan.thresholds.text
        plan = Plan(
            artifact=reference,
            digest=self._children.digest(reference),
            text=find_text(text, self._plan.directory, reference),
            settings=text,
            windows=windows,
            first_round=first_round,
            require_unchanged=lambda: self._children.require_unchanged(reference),
        )
        serving = self._children.serve_reference(runtime)
        with named(serving), serving.phase("perplexity"):
            return ReferenceStore(self._children.store).get_or_measure(plan, serving)

    # --- for the report -----------------------------------------------------------------------

    def record_summary(self, artifact: Artifact, headline: dict[str, float]) -> None:
        """Note numbers that the report shows of the reference that the artifact is held against.

        What was measured beside several artifacts is shown as the median of these, so that it does
        not hang on which of them came last.
        """
        runtime = self._plan.reference_runtime_of(artifact)
        self._headlines.setdefault(runtime, []).append(headline)

    def _headline(self, runtime: str) -> dict[str, float]:
        values: dict[str, list[float]] = {}
        for headline in self._headlines.get(runtime, ()):
            for name, value in headline.items():
                values.setdefault(name, []).append(value)
        return {name: statistics.median(seen) for name, seen in values.items()}

    def describe(self) -> dict[str, Any]:
        """The report's `reference` section: what was asked of the reference, at home and elsewhere.

        Elsewhere is under `elsewhere`, one entry a runtime, with the ratio of its perplexity there
        to that at home, where both are known. An extension's text is under `extension`.
        """
        known = self._children.references
        if not known:
            return {}
        home = self._plan.reference_runtime_of()
        first = home if home in known else next(iter(known))
        others = [self._facts(runtime, home) for runtime in known if runtime != first]
        described = self._facts(first, home)
        return {**described, "elsewhere": others} if others else described

    def _facts(self, runtime: str, home: str) -> dict[str, Any]:
        from qgate.gate.reference_section import describe, measurements, times

        serving = self._children.references[runtime]
        runtime_facts = dataclasses.replace(serving.describe(), kernel=serving.kernel)
        digest = self._children.digest(serving.artifact)
        facts = describe(serving.artifact, digest, runtime_facts)
        measured = {**self._headline(runtime), **times(serving)}
        reference = self._memo.peek(("reference", runtime))
        if reference is None:
            return {**facts, "measured": measured}
        told = self._memo.get_or_compute(("measurements", runtime), lambda: measurements(reference))
        more = self._memo.peek(("extension", runtime))
        if more is not None:
            key = ("measurements of the extension", runtime)
            found = self._memo.get_or_compute(key, lambda: measurements(more))
            told = {**told, "extension": found}
        difference = self._difference(runtime, home)
        return {**facts, **told, **difference, "measured": measured}

    def _difference(self, runtime: str, home: str) -> dict[str, Any]:
        """How the reference's perplexity in one runtime differs from that at home."""
        from qgate.gate.reference_section import runtime_difference

        here, there = (self._memo.peek(("reference", name)) for name in (runtime, home))
        if runtime == home or here is None or there is None:
            return {}
        found = self._memo.get_or_compute(
            ("difference", runtime), lambda: runtime_difference(here, there)
        )
        return {"runtime_difference": found}


@contextlib.contextmanager
def named(serving: ServedModel) -> Iterator[None]:
    """Say of an error in the reference's child that it was the reference's."""
    try:
        yield
    except errors.QGateError as error:
        raise errors.with_subject(error, f"reference {serving.artifact.id}") from error
