"""Where artifacts are put to be measured: which child serves them, against which original.

One object a run, without pytest. It starts children, reads the stores, and remembers what it
measured or why it could not, so that asking again costs nothing and says the same. Limits do not
reach what it measures, but for tasks that are asked until theirs is decided (`qgate.stages`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Any, cast

from qgate import errors
from qgate.artifacts.tokenizer import difference, tokenizer_of
from qgate.children import Children, Setting
from qgate.known import Known
from qgate.originals import Originals, named

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from qgate.divergence import Divergence
    from qgate.measure.edge.boundaries import BoundaryFindings
    from qgate.measure.latency import LatencySamples
    from qgate.measure.measurement import Measurement
    from qgate.measure.memory import Footprint, MemorySamples
    from qgate.measure.probes import Asking, Probe
    from qgate.measure.work import Outcome, Pair, Work
    from qgate.records import Artifact, Limit
    from qgate.reference import Reference
    from qgate.serving import Serving
    from qgate.stages import Staged


class Bench:
    """Measures artifacts, one at a time."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._known = Known()
        self.children = Children(setting)
        self.originals = Originals(setting, self.children, self._known)
        self._works: dict[tuple[str, ...], Work] = {}
        self._headlines: dict[str, dict[str, float]] = {}

    # --- perplexity ---------------------------------------------------------------------------

    def reference(self, serving: Serving) -> Reference:
        """The original's likelihoods and distributions, from the store or measured now.

        Raises:
            QGateError: there is none, or it could not be measured; the same each time.
        """
        return self.originals.reference_for(serving.artifact)

    def divergence(self, serving: Serving) -> Divergence:
        """Likelihoods and divergences of the artifact on the reference's tokens.

        Raises:
            QGateError: its tokens mean something else, or a runtime failed.
        """
        return self._known.once((serving.artifact.id, "divergence"), lambda: self._diverge(serving))

    def _diverge(self, serving: Serving) -> Divergence:
        from qgate.divergence import measure_divergence

        reference = self.reference(serving)
        self._require_same_tokens(serving)
        measured = measure_divergence(serving, reference)
        self._book(serving.artifact.id, measured.headline())
        return measured

    def _require_same_tokens(self, serving: Serving) -> None:
        """Refuse an artifact whose token ids could mean something else than the original's."""
        self._known.once((serving.artifact.id, "tokens"), lambda: self._compare_tokens(serving))

    def _compare_tokens(self, serving: Serving) -> None:
        from qgate.same_tokens import require_same_ids

        artifact, original = serving.artifact, self.originals.serving_for(serving.artifact)
        is_same_format = artifact.format == original.artifact.format
        if is_same_format and (
            differs := difference(
                tokenizer_of(artifact), tokenizer_of(original.artifact), "tokenizer"
            )
        ):
            raise errors.ArtifactError(
                f"{artifact.id}: tokenizer differs from the reference's: {differs}."
                " Name the right original with --qgate-reference, or convert the model again"
            )
        if not is_same_format or serving.describe().name != original.describe().name:
            require_same_ids(serving, original)

    # --- tasks and edge cases -----------------------------------------------------------------

    def probe(
        self, serving: Serving, check: str, limit: Limit | None = None
    ) -> Measurement | BoundaryFindings:
        """Both sides' answers behind one row of accuracy or edge cases.

        A task that may be asked in stages is asked until the limit is decided.

        Raises:
            QGateError: its tokens mean something else, a runtime failed, or the row tells nothing.
        """
        probes = self._known.once(("probes",), self._setting.probes)
        probe = next(probe for probe in probes if check in probe.checks)
        key = (serving.artifact.id, *probe.checks)
        return self._known.once(key, lambda: self._ask(serving, probe, limit))

    def corrected(
        self,
        artifact: Artifact,
        check: str,
        measured: Measurement,
        limits: Mapping[str, Limit],
    ) -> Measurement:
        """The samples of a row, its p-value adjusted for all alarms on the artifact.

        Where the others decide they are measured for that, now instead of later or not at all.
        """
        from qgate.alarms import correct, family_of

        family = family_of(limits)

        def measure(other: str) -> Measurement:
            serving = self.children.of(artifact)
            return cast("Measurement", self.probe(serving, other, limits.get(other)))

        return correct(check, measured, family, measure)

    def _ask(
        self, serving: Serving, probe: Probe, limit: Limit | None
    ) -> Measurement | BoundaryFindings:
        from qgate.stages import ask_in_stages, is_staged

        self._require_same_tokens(serving)
        if limit is not None and is_staged(probe, limit):
            self.plan(serving, probe)  # an item that cannot be asked voids the row at any look
            task = cast("Staged", probe)
            return ask_in_stages(task, limit, lambda *part: self._pair(serving, *part))
        return probe.read(self._pair(serving, probe))

    def _pair(self, serving: Serving, probe: Asking, part: str = "") -> Pair:
        """Both sides' answers to a probe, or to the part of one that goes by this name."""
        from qgate.measure.work import Pair, perform

        facts = serving.load()
        work = self.plan(serving, probe, part)
        runtime = self.children.choose_for_original(serving.artifact)
        reference = self._known.once(
            ("original", runtime, *probe.checks, part),
            lambda: self.ask_original(runtime, work, probe),
        )
        with serving.phase(probe.checks[0]):
            artifact = perform(work, serving.host, facts.end_tokens)
        return Pair(work=work, reference=reference, artifact=artifact)

    def plan(self, serving: Serving, probe: Asking, part: str = "") -> Work:
        """The same work for every artifact; one whose child fails here fails for itself only."""
        from qgate.measure.work import Speaker

        key = (*probe.checks, part)
        if key not in self._works:
            facts = serving.load()
            context = self.children.original().context_length or facts.context_length
            speaker = Speaker(serving.host, context, facts.first_token)
            self._works[key] = probe.work(speaker)
        return self._works[key]

    def ask_original(self, runtime: str, work: Work, probe: Asking) -> Outcome:
        """What the original answers, from the store or measured now."""
        from qgate.measure.work import perform
        from qgate.outcomes import OutcomeStore

        serving = self.children.serve_original(runtime)

        def ask() -> Outcome:
            facts = serving.load()
            with serving.phase(probe.checks[0]):
                outcome = perform(work, serving.host, facts.end_tokens)
            self.children.require_unchanged(serving.artifact)
            return outcome

        with named(serving):
            return OutcomeStore(self.children.store).get_or_perform(
                work,
                self.children.digest(serving.artifact),
                serving.describe(),
                ask,
                serving.loaded_as,
            )

    # --- latency and memory -------------------------------------------------------------------

    def begin(self, serving: Serving, areas: Collection[str]) -> None:
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
        return self._known.once((serving.artifact.id, "memory"), lambda: self._weigh(serving))

    def latency(self, serving: Serving) -> LatencySamples:
        """Requests to artifact and original in turns, timed at their tokens.

        Raises:
            QGateError: a request failed.
        """
        return self._known.once((serving.artifact.id, "latency"), lambda: self._time(serving))

    def _weigh(self, serving: Serving) -> MemorySamples:
        from qgate.measure import memory

        artifact, settings = serving.artifact, self._setting.thresholds.memory
        original = self.originals.serving_for(artifact)
        runtime = self.children.choose_for_original(artifact)
        # of a device only what is alone on it can be told
        self.children.free_devices()
        theirs = self._known.once(("footprint", runtime), lambda: self._weigh_original(original))
        self.children.free_devices()
        own = self._footprint(serving)
        with serving.phase("memory"):
            growth = memory.measure_growth(serving.host, settings, serving.load().n_vocab)
        samples = memory.MemorySamples.of(artifact, own, theirs, growth)
        self._book(artifact.id, samples.headline())
        self.originals.book(artifact, samples.reference_headline())
        return samples

    def _weigh_original(self, serving: Serving) -> Footprint:
        with named(serving):
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
        serving.load_now()
        if serving.describe().device == "cpu":
            meter = None
        elif problem is not None:
            raise problem
        with serving.phase("memory"):
            return measure_footprint(serving.host, tokens, meter)

    def _time(self, serving: Serving) -> LatencySamples:
        from qgate.measure.latency import measure_latency

        original = self.originals.serving_for(serving.artifact)
        facts = serving.load_now()
        with named(original):
            original.load_now()
        with serving.phase("latency"):
            samples = measure_latency(
                serving.host, original.host, self._setting.thresholds.latency, facts
            )
        self._book(serving.artifact.id, samples.headline())
        self.originals.book(serving.artifact, samples.reference_headline())
        return samples

    # --- for the report -----------------------------------------------------------------------

    def _book(self, owner: str, headline: dict[str, float]) -> None:
        self._headlines.setdefault(owner, {}).update(headline)

    def subject(self, artifact: Artifact) -> dict[str, Any]:
        """What the report tells beside the rows of an artifact, as far as it is known: JSON."""
        from qgate.descriptions import times

        serving = self.children.of(artifact)
        runtime = dataclasses.replace(
            serving.describe(), kernel=serving.kernel, reason=self.children.choose(artifact).reason
        )
        return {
            "digest": self.children.digest(artifact),
            "runtime": dataclasses.asdict(runtime),
            "compared_with": self._compared_with(artifact),
            "measured": {**self._headlines.get(artifact.id, {}), **times(serving)},
            "reference": self.originals.describe(),
            "from_store": serving.from_store,
            "notes": list(self.children.store.notes),
        }

    def _compared_with(self, artifact: Artifact) -> dict[str, str]:
        """The runtime of the original that its rows rest on."""
        if not self.children.originals:
            return {}
        return {"runtime": self.children.choose_for_original(artifact)}
