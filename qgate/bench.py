"""Where artifacts are put to be measured: which child serves them, against which original.

One object a run, without pytest. It starts children, reads the stores, and remembers what it
measured or why it could not, so that asking again costs nothing and says the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qgate import errors
from qgate.artifacts.tokenizer import difference, tokenizer_of
from qgate.children import Children, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qgate.divergence import Divergence
    from qgate.measure.edge.boundaries import BoundaryFindings
    from qgate.measure.latency import LatencySamples
    from qgate.measure.measurement import Measurement
    from qgate.measure.memory import Footprint, MemorySamples
    from qgate.measure.probes import Probe
    from qgate.measure.work import Outcome, Work
    from qgate.records import Artifact
    from qgate.reference import Reference
    from qgate.serving import Serving

STORE = Path(".qgate") / "references"
_ORIGINAL = ""
"""What the original is called in here: no artifact has an empty id."""
Result = TypeVar("Result")


class Bench:
    """Measures artifacts, one at a time."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.children = Children(setting)
        self._known: dict[tuple[str, ...], Any] = {}
        self._works: dict[tuple[str, ...], Work] = {}
        self._headlines: dict[str, dict[str, float]] = {}

    def _once(self, key: tuple[str, ...], make: Callable[[], Result]) -> Result:
        """What `make` gives, made once a run; if it raises a QGateError, the same each time."""
        if key not in self._known:
            try:
                self._known[key] = make()
            except errors.QGateError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, errors.QGateError):
            raise known
        result: Result = known
        return result

    # --- perplexity ---------------------------------------------------------------------------

    def reference(self) -> Reference:
        """The original's likelihoods and distributions, from the store or measured now.

        Raises:
            QGateError: there is none, or it could not be measured; the same each time.
        """
        return self._once(("reference",), self._measure_reference)

    def _measure_reference(self) -> Reference:
        from qgate.measure.texts import find_text
        from qgate.reference import Plan, ReferenceStore

        original, thresholds = self.children.original(), self._setting.thresholds
        plan = Plan(
            artifact=original,
            digest=self.children.digest(original),
            text=find_text(thresholds.text, self._setting.directory),
            settings=thresholds.text,
            threads=thresholds.runtime.threads,
        )
        serving = self.children.serve_original()
        with _named(serving), serving.phase("perplexity"):
            store = ReferenceStore(self._setting.directory / STORE)
            return store.get_or_measure(plan, lambda: contextlib.nullcontext(serving.host))

    def divergence(self, serving: Serving) -> Divergence:
        """Likelihoods and divergences of the artifact on the reference's tokens.

        Raises:
            QGateError: its tokens mean something else, or a runtime failed.
        """
        return self._once((serving.artifact.id, "divergence"), lambda: self._diverge(serving))

    def _diverge(self, serving: Serving) -> Divergence:
        from qgate.divergence import measure_divergence

        reference = self.reference()
        self._require_same_tokenizer(serving.artifact)
        measured = measure_divergence(serving, reference)
        self._book(serving.artifact.id, measured.headline())
        return measured

    def _require_same_tokenizer(self, artifact: Artifact) -> None:
        original = self.children.original()
        differs = self._once(
            (artifact.id, "tokenizer"),
            lambda: difference(tokenizer_of(artifact), tokenizer_of(original), "tokenizer") or "",
        )
        if differs:
            raise errors.ArtifactError(
                f"{artifact.id}: tokenizer differs from the reference's: {differs}."
                " Name the right original with --qgate-reference, or convert the model again"
            )

    # --- tasks and edge cases -----------------------------------------------------------------

    def probe(self, serving: Serving, check: str) -> Measurement | BoundaryFindings:
        """Both sides' answers behind one row of accuracy or edge cases.

        Raises:
            QGateError: its tokens mean something else, a runtime failed, or the row tells nothing.
        """
        probes = self._once((_ORIGINAL, "probes"), self._setting.probes)
        probe = next(probe for probe in probes if check in probe.checks)
        return self._once((serving.artifact.id, *probe.checks), lambda: self._ask(serving, probe))

    def _ask(self, serving: Serving, probe: Probe) -> Measurement | BoundaryFindings:
        from qgate.measure.work import Pair, perform

        self._require_same_tokenizer(serving.artifact)
        facts = serving.load()
        work = self._plan(serving, probe)
        reference = self._once((_ORIGINAL, *probe.checks), lambda: self._ask_original(work, probe))
        with serving.phase(probe.checks[0]):
            artifact = perform(work, serving.host, facts.end_tokens)
        return probe.read(Pair(work=work, reference=reference, artifact=artifact))

    def _plan(self, serving: Serving, probe: Probe) -> Work:
        """The same work for every artifact; one whose child fails here fails for itself only."""
        from qgate.measure.work import Speaker

        if probe.checks not in self._works:
            facts = serving.load()
            context = self.children.original().context_length or facts.context_length
            speaker = Speaker(serving.host, context, facts.first_token)
            self._works[probe.checks] = probe.work(speaker)
        return self._works[probe.checks]

    def _ask_original(self, work: Work, probe: Probe) -> Outcome:
        from qgate.measure.work import perform
        from qgate.outcomes import OutcomeStore

        serving = self.children.serve_original()

        def ask() -> Outcome:
            facts = serving.load()
            with serving.phase(probe.checks[0]):
                return perform(work, serving.host, facts.end_tokens)

        with _named(serving):
            store = OutcomeStore(self._setting.directory / STORE)
            return store.get_or_perform(
                work, self.children.digest(serving.artifact), serving.describe(), ask
            )

    # --- latency and memory -------------------------------------------------------------------

    def begin(self, serving: Serving, areas: frozenset[str]) -> None:
        """Measure what has to come first in a fresh child: memory, then latency.

        What is asked later then gets the same numbers, whichever rows were picked and in whatever
        order; what fails here fails again there, and there somebody hears of it.
        """
        for area, measure in (("memory", self.memory), ("latency", self.latency)):
            if area in areas:
                with contextlib.suppress(errors.QGateError):
                    measure(serving)

    def memory(self, serving: Serving) -> MemorySamples:
        """What serving the artifact takes, and what the original takes.

        Raises:
            QGateError: the runtime or this machine does not tell.
        """
        return self._once((serving.artifact.id, "memory"), lambda: self._weigh(serving))

    def latency(self, serving: Serving) -> LatencySamples:
        """Requests to artifact and original in turns, timed at their tokens.

        Raises:
            QGateError: a request failed.
        """
        return self._once((serving.artifact.id, "latency"), lambda: self._time(serving))

    def _weigh(self, serving: Serving) -> MemorySamples:
        from qgate.measure import memory

        settings = self._setting.thresholds.memory
        theirs = self._once(("footprint",), self._weigh_original)
        original = self.children.serve_original()
        if original.describe().device != "cpu":
            original.close()  # of a device only what is alone on it can be told
        own = self._footprint(serving)
        with serving.phase("memory"):
            growth = memory.measure_growth(serving.host, settings, serving.load().n_vocab)
        samples = memory.MemorySamples.of(serving.artifact, own, theirs, growth)
        self._book(serving.artifact.id, samples.headline())
        self._book(_ORIGINAL, samples.reference_headline())
        return samples

    def _weigh_original(self) -> Footprint:
        serving = self.children.serve_original()
        with _named(serving):
            return self._footprint(serving)

    def _footprint(self, serving: Serving) -> Footprint:
        from qgate.measure.device import DeviceMeter
        from qgate.measure.memory import measure_footprint

        longest = self.children.original().context_length or 2**31
        tokens = min(self._setting.thresholds.memory.context_tokens, longest)
        meter, problem = None, None
        try:
            meter = DeviceMeter(os.environ)  # before the child starts
        except errors.MeasurementError as error:
            problem = error
        serving.load()
        if serving.describe().device == "cpu":
            meter = None
        elif problem is not None:
            raise problem
        with serving.phase("memory"):
            return measure_footprint(serving.host, tokens, meter)

    def _time(self, serving: Serving) -> LatencySamples:
        from qgate.measure.latency import measure_latency

        original = self.children.serve_original()
        facts = serving.load()
        with _named(original):
            original.load()
        with serving.phase("latency"):
            samples = measure_latency(
                serving.host, original.host, self._setting.thresholds.latency, facts
            )
        self._book(serving.artifact.id, samples.headline())
        self._book(_ORIGINAL, samples.reference_headline())
        return samples

    # --- for the report -----------------------------------------------------------------------

    def _book(self, owner: str, headline: dict[str, float]) -> None:
        self._headlines.setdefault(owner, {}).update(headline)

    def subject(self, artifact: Artifact) -> dict[str, Any]:
        """What the report tells beside the rows of an artifact, as far as it is known: JSON."""
        from qgate.descriptions import times

        serving = self.children.of(artifact)
        return {
            "digest": self.children.digest(artifact),
            "runtime": dataclasses.asdict(serving.describe()),
            "measured": {**self._headlines.get(artifact.id, {}), **times(serving)},
            "reference": self._describe_original(),
        }

    def _describe_original(self) -> dict[str, Any]:
        from qgate.descriptions import describe, measurements, times

        serving = self.children.original_serving
        if serving is None:
            return {}
        measured = {**self._headlines.get(_ORIGINAL, {}), **times(serving)}
        reference = self._known.get(("reference",))
        known = {}
        if not isinstance(reference, errors.QGateError | None):
            known = self._once((_ORIGINAL, "measurements"), lambda: measurements(reference))
        facts = describe(
            serving.artifact, self.children.digest(serving.artifact), serving.describe()
        )
        return {**facts, **known, "measured": measured}


@contextlib.contextmanager
def _named(serving: Serving) -> Iterator[None]:
    """Say of an error in the original's child that it was the original's."""
    try:
        yield
    except errors.QGateError as error:
        raise errors.with_subject(error, f"reference {serving.artifact.id}") from error
