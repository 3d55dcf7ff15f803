"""Where artifacts are put to be measured: which child serves them, against which reference.

One object a run, without pytest. It starts children, reads the stores, and remembers what it
measured or why it could not, so that asking again costs nothing and says the same. Limits reach
what it measures in one way: everything is asked in parts, until they are decided
(`qgate.measure.looks`). Without limits everything is asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, cast

from qgate import errors
from qgate.artifacts.tokenizer.comparison import difference, tokenizer_of
from qgate.gate.memo import Memo
from qgate.gate.processes import ModelProcesses, RunSettings
from qgate.gate.reference import References, named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from qgate.gate.row import Subject
    from qgate.measure.latency.rows import LatencySamples
    from qgate.measure.looks import Rows
    from qgate.measure.measurement import Measurement
    from qgate.measure.memory.rows import Footprint, MemorySamples
    from qgate.measure.parts import Answered
    from qgate.measure.perplexity.divergence import Divergence
    from qgate.measure.probes import Asking, Probe
    from qgate.records import Artifact
    from qgate.reference.distributions import Reference
    from qgate.runtimes.requests import Outcome, Work
    from qgate.runtimes.served_model import ServedModel


class Measurer:
    """Measures artifacts, one at a time."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings, self._plan = settings, settings.plan
        self._memo = Memo()
        self.children = ModelProcesses(settings)
        self.references = References(settings, self.children, self._memo)
        self._works: dict[tuple[str, ...], Work] = {}
        self._headlines: dict[str, dict[str, float]] = {}

    def _rows(self, artifact: Artifact, checks: Iterable[str]) -> Rows:
        """Which of these rows have to be decided, by what limits; picked for this run or not."""
        from qgate.measure.looks import Rows

        plan = self._plan.of(artifact)
        return Rows.of(checks, plan.limits, family=plan.family)

    # --- perplexity ---------------------------------------------------------------------------

    def reference(self, serving: ServedModel) -> Reference:
        """The reference's likelihoods and distributions, from the store or measured now.

        Raises:
            QGateError: there is none, or it could not be measured; the same each time.
        """
        return self.references.reference_for(serving.artifact)

    def divergence(self, serving: ServedModel) -> Divergence:
        """Likelihoods and divergences of the artifact on the reference's tokens.

        Raises:
            QGateError: its tokens mean something else, or a runtime failed.
        """
        return self._memo.get_or_compute(
            (serving.artifact.id, "divergence"), lambda: self._diverge(serving)
        )

    def _diverge(self, serving: ServedModel) -> Divergence:
        from qgate.measure.perplexity.divergence import measure_divergence
        from qgate.measure.perplexity.rows import ROWS as PERPLEXITY_ROWS

        reference = self.reference(serving)
        self.require_same_tokens(serving)
        rows = self._rows(serving.artifact, PERPLEXITY_ROWS)
        extension = self.references.extension_of(reference, serving.artifact)
        measured = measure_divergence(serving, reference, rows, extension)
        self._record_summary(serving.artifact.id, measured.headline())
        return measured

    def require_same_tokens(self, serving: ServedModel) -> None:
        """Refuse an artifact whose token ids could mean something else than the reference's.

        Raises:
            QGateError: they could, or there is no reference; the same each time.
        """
        self._memo.get_or_compute(
            (serving.artifact.id, "tokens"), lambda: self._compare_tokens(serving)
        )

    def _compare_tokens(self, serving: ServedModel) -> None:
        artifact, reference = serving.artifact, self.references.serving_for(serving.artifact)
        is_same_format = artifact.format == reference.artifact.format
        if is_same_format and (
            differs := difference(
                tokenizer_of(artifact), tokenizer_of(reference.artifact), "tokenizer"
            )
        ):
            other = errors.ArtifactError(
                f"tokenizer differs from the reference's: {differs}."
                " Name the right reference with --qgate-reference, or convert the model again"
            )
            raise errors.with_subject(other, artifact.id)
        if not is_same_format or serving.describe().name != reference.describe().name:
            self._require_same_ids(serving, is_same_format=is_same_format)

    def differing_ids(self, serving: ServedModel) -> str:
        """A text whose token ids are others than the reference's, told; empty where none is.

        Raises:
            QGateError: a runtime cannot be asked, or there is no reference; the same each time.
        """
        from qgate.gate.token_ids import difference_in_ids

        reference = self.references.serving_for(serving.artifact)
        return self._memo.get_or_compute(
            (serving.artifact.id, "ids"), lambda: difference_in_ids(serving, reference)
        )

    def _require_same_ids(self, serving: ServedModel, *, is_same_format: bool) -> None:
        if differs := self.differing_ids(serving):
            remedy = (
                "Serve both in one runtime with --qgate-runtime"
                if is_same_format
                else "Convert it again from the reference"
            )
            differing = errors.ArtifactError(
                f"token ids differ between runtimes: {differs}. {remedy}"
            )
            raise errors.with_subject(differing, serving.artifact.id)

    # --- tasks and edge cases -----------------------------------------------------------------

    def probe(self, serving: ServedModel, check: str) -> Measurement:
        """Both sides' answers behind one row of accuracy or edge cases.

        Raises:
            QGateError: its tokens mean something else, a runtime failed, or the row tells nothing.
        """
        from qgate.gate.reference_first import ManyRows

        probes = self._memo.get_or_compute(("probes",), self._settings.probes)
        probe = next(probe for probe in probes if check in probe.checks)
        key = (serving.artifact.id, *probe.checks)
        asked = self._memo.get_or_compute(key, lambda: self._ask(serving, probe))
        if isinstance(probe, ManyRows) and asked.reference is not None:
            probe.require_reference(check, *asked.reference)
        return asked.measured

    def _ask(self, serving: ServedModel, probe: Probe) -> Answered:
        from qgate.measure.parts import ask_in_parts

        self.require_same_tokens(serving)
        probe = self._narrowed(serving, probe)
        self.plan(serving, probe)  # what cannot be asked voids the row at any look
        rows = self._rows(serving.artifact, probe.checks)
        return ask_in_parts(probe, rows, _Sides(self, serving))

    def _narrowed(self, serving: ServedModel, probe: Probe) -> Probe:
        """What of a probe is asked, by the reference's answers to its scout.

        Raises:
            NotApplicable: the reference shows there that it can do nothing of it.
        """
        from qgate.gate.reference_first import Scouting

        scout = probe.scout() if isinstance(probe, Scouting) else None
        if scout is None:
            return probe
        return cast("Scouting", probe).narrowed(*self.ask_reference_beside(serving, scout, "scout"))

    def ask_reference_beside(
        self, serving: ServedModel, probe: Asking, part: str = ""
    ) -> tuple[Work, Outcome]:
        """What the artifact's reference answers to a probe, or to the part that goes by this name.

        Returns:
            What is asked of both, and the reference's answers.
        """
        serving.load()
        work = self.plan(serving, probe, part)
        runtime = self._plan.reference_runtime_of(serving.artifact)
        key = ("original", runtime, *probe.checks, part)
        return work, self._memo.get_or_compute(
            key, lambda: self.ask_reference(runtime, work, probe)
        )

    def ask_artifact(self, serving: ServedModel, probe: Asking, work: Work) -> Outcome:
        """What the artifact answers to the same work."""
        from qgate.runtimes.requests import perform

        facts = serving.load()
        with serving.phase(probe.checks[0]):
            return perform(work, serving.host, facts.end_tokens)

    def plan(self, serving: ServedModel, probe: Asking, part: str = "") -> Work:
        """The same work for every artifact; one whose child fails here fails for itself only."""
        from qgate.runtimes.requests import TokenizerClient

        # what is asked of a probe is narrowed by what the reference answers in its runtime
        key = (self._plan.reference_runtime_of(serving.artifact), *probe.checks, part)
        if key not in self._works:
            facts = serving.load()
            context = self._plan.require_reference().context_length or facts.context_length
            tokenizer = TokenizerClient(serving.host, context, facts.first_token)
            self._works[key] = probe.work(tokenizer)
        return self._works[key]

    def ask_reference(self, runtime: str, work: Work, probe: Asking) -> Outcome:
        """What the reference answers, from the store or measured now."""
        from qgate.reference.answers import OutcomeStore
        from qgate.runtimes.requests import perform

        serving = self.children.serve_reference(runtime)

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

    def begin(self, serving: ServedModel, areas: Collection[str]) -> None:
        """Measure what has to come first in a fresh child: memory, then latency.

        What is asked later then gets the same numbers, whichever rows were picked and in whatever
        order; what fails here fails again there, and there somebody hears of it.
        """
        for area, measure in (("memory", self.memory), ("latency", self.latency)):
            if area in areas:
                with contextlib.suppress(errors.QGateError):
                    measure(serving)

    def memory(self, serving: ServedModel) -> MemorySamples:
        """What serving the artifact takes, and what the reference takes.

        Raises:
            QGateError: the runtime or this machine does not tell.
        """
        return self._memo.get_or_compute(
            (serving.artifact.id, "memory"), lambda: self._weigh(serving)
        )

    def latency(self, serving: ServedModel) -> LatencySamples:
        """Requests to artifact and reference in turns, timed at their tokens.

        Raises:
            QGateError: a request failed.
        """
        return self._memo.get_or_compute(
            (serving.artifact.id, "latency"), lambda: self._time(serving)
        )

    def _weigh(self, serving: ServedModel) -> MemorySamples:
        from qgate.measure.memory import rows as memory

        artifact, settings = serving.artifact, self._plan.thresholds.memory
        reference = self.references.serving_for(artifact)
        runtime = self._plan.reference_runtime_of(artifact)
        # of a device only what is alone on it can be told
        self.children.free_devices()
        theirs = self._memo.get_or_compute(
            ("footprint", runtime), lambda: self._weigh_reference(reference)
        )
        self.children.free_devices()
        own = self._footprint(serving)
        rows = self._rows(artifact, ["memory.growth"])

        def is_decided(growth: memory.Growth) -> bool:
            return rows.are_decided(memory.MemorySamples.of(artifact, own, theirs, growth))

        with serving.phase("memory"):
            growth = memory.measure_growth(
                serving.host,
                settings,
                serving.load().n_vocab,
                is_decided if rows.can_stop else None,
            )
        samples = memory.MemorySamples.of(artifact, own, theirs, growth)
        self._record_summary(artifact.id, samples.headline())
        self.references.record_summary(artifact, samples.reference_headline())
        return samples

    def _weigh_reference(self, serving: ServedModel) -> Footprint:
        with named(serving):
            return self._footprint(serving)

    def _footprint(self, serving: ServedModel) -> Footprint:
        from qgate.measure.memory.nvml import DeviceMeter
        from qgate.measure.memory.rows import measure_footprint

        longest = self._plan.require_reference().context_length or 2**31
        tokens = min(self._plan.thresholds.memory.context_tokens, longest)
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

    def _time(self, serving: ServedModel) -> LatencySamples:
        from qgate.measure.latency.rows import CHECKS, measure_latency

        rows = self._rows(serving.artifact, CHECKS)
        reference = self.references.serving_for(serving.artifact)
        facts = serving.load_now()
        with named(reference):
            reference.load_now()
        with serving.phase("latency"):
            samples = measure_latency(
                serving.host,
                reference.host,
                self._plan.thresholds.latency,
                facts,
                # a percentile takes all the requests that its settings ask for
                rows.are_decided if rows.can_stop and not rows.have("percentile") else None,
            )
        self._record_summary(serving.artifact.id, samples.headline())
        self.references.record_summary(serving.artifact, samples.reference_headline())
        return samples

    # --- for the report -----------------------------------------------------------------------

    def _record_summary(self, owner: str, headline: dict[str, float]) -> None:
        self._headlines.setdefault(owner, {}).update(headline)

    def subject(self, artifact: Artifact) -> Subject:
        """What the report holds of an artifact besides its rows, as far as it is known."""
        from qgate.gate.reference_section import times
        from qgate.gate.row import Subject

        serving = self.children.of(artifact)
        runtime = dataclasses.replace(
            serving.describe(), kernel=serving.kernel, reason=self._plan.runtime_of(artifact).reason
        )
        return Subject(
            digest=self.children.digest(artifact),
            runtime=runtime,
            compared_with=self._compared_with(artifact),
            measured={**self._headlines.get(artifact.id, {}), **times(serving)},
            from_store=serving.from_store,
            reference=self.references.describe(),
            notes=tuple(self.children.store.notes),
        )

    def _compared_with(self, artifact: Artifact) -> dict[str, str]:
        """The runtime of the reference that its rows rest on."""
        if not self.children.references:
            return {}
        return {"runtime": self._plan.reference_runtime_of(artifact)}


@dataclasses.dataclass(frozen=True, slots=True)
class _Sides:
    """An artifact and its reference, as `qgate.measure.parts` asks them."""

    measurer: Measurer
    serving: ServedModel

    def ask_reference(self, probe: Asking, label: str) -> tuple[Work, Outcome]:
        return self.measurer.ask_reference_beside(self.serving, probe, label)

    def ask_artifact(self, probe: Asking, work: Work, label: str) -> Outcome:
        return self.measurer.ask_artifact(self.serving, probe, work)
