"""How long a run will take, from what it asks at most and how fast this machine is.

    seconds = tokens read x weights x seconds of a product of many tokens
            + tokens written side by side x weights x seconds of a product of 16
            + tokens written one by one x weights x seconds of a product of one
            + what every token, every model and every run costs anyway

`MachineSpeed` is of the runtime's own library, or of numpy; the shares that models get of it, and
how much of what may be asked is asked as a rule before a verdict is certain, were fitted on two CPU
cores to SmolLM2-135M (F16, Q8_0, Q4_K_M, Q2_K) and the demo model. On a GPU nothing is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qgate.measure.probes import Probe
    from qgate.planning.clock import Phase
    from qgate.planning.machine import MachineSpeed, Multiplying
    from qgate.planning.plan import ArtifactPlan, RunPlan
    from qgate.records import Artifact
    from qgate.thresholds import Thresholds

_READING = 0.85
"""Share of the speed of a product of many tokens that a model has which reads many."""
_SCORING = 1.8
"""How much longer text takes whose likelihoods are compared: every token has its logits, and the
texts are short."""
_WRITING = 0.6
"""Share of the speed of a product of 16 tokens where 8 to 32 sequences go on by a token each."""
_ALONE = 0.85
"""The same of a product of one token."""
_SLOW_S = 1e-10
"""Of a product with one weight on a slow machine."""
_WORTH_MEASURING_S = 0.5
"""Of products on a slow machine; what takes less is not measured for as long."""
_PER_READ_S = 0.0001
"""Of a token that is read, beside the products."""
_PER_TOKEN_S = 0.0004
"""Of a written token, beside the products: attention, sampling, Python."""
_PER_MODEL_S = 2.0
"""A child that starts and loads, and the rows of it."""
_PER_RUN_S = 14.0
"""What is imported, judged, written and sent to a new MLflow store."""
_PYTHON_S = 0.0049
"""Of 100,000 additions on the machine where these two were measured."""
_TOKENS_A_CHARACTER = 0.3
_LONG_TOKENS = 4096
"""Of a long text, where attention adds half to the time of reading (fitted); of a model with a
shorter context as many texts are asked as take as long."""
_DOCUMENT_TOKENS = 60
_REFERENCES = "reference's "
"""Before the name of a phase of which the reference is asked something else."""
_BATCH_TOKENS = (16, 2)
"""Read and written by a batch of memory.growth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a phase asks of a model at most, in tokens."""

    read: float = 0.0
    scored: float = 0.0
    """Read, and their likelihoods compared."""
    written: float = 0.0
    """Side by side with others."""
    alone: float = 0.0
    """One after the other."""
    share: float = 1.0
    """That is asked as a rule before every verdict is certain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a model, as its files tell it."""

    weights: float
    bytes: float


def expected_seconds(plan: RunPlan, areas: Mapping[str, Iterable[str]]) -> dict[Phase, float]:
    """Seconds of each phase of each model; empty where a GPU or a server takes part.

    Args:
        plan: of the run.
        areas: of each artifact by its id, the lines of the checklist of which rows were picked.

    Raises:
        QGateError: what is asked cannot be read.
    """
    from qgate.reference.texts import is_written

    gated = [one for one in plan.artifacts if set(areas.get(one.artifact.id, ())) - {"integrity"}]
    if plan.reference is None or not gated or not all(one.is_on_cpu for one in gated):
        return {}
    context = plan.reference.context_length or plan.thresholds.edge.context_tokens
    writes_text = is_written(plan.thresholds.text, plan.directory)
    asks = asks_of(plan.thresholds, plan.probes(), context, writes_text=writes_text)
    models = [one.artifact for one in gated]
    tokens = sum(ask.read + ask.scored + ask.written + ask.alone for ask in asks.values())
    is_small = tokens * _weights(plan.reference) * _SLOW_S < _WORTH_MEASURING_S
    speeds = _measure(plan, gated, is_small=is_small)
    return estimate_run(models, plan.reference, areas, asks, speeds)


def _weights(reference: Artifact) -> float:
    return reference.size_bytes / (4.0 if reference.scheme.casefold().endswith("32") else 2.0)


def _measure(
    plan: RunPlan, gated: Iterable[ArtifactPlan], *, is_small: bool
) -> dict[str, MachineSpeed]:
    """How fast the machine is for each artifact, by its id; a small one is not worth timing."""
    from qgate.confinement.processors import usable_processors
    from qgate.planning.machine import (
        MachineSpeed,
        Multiplying,
        measure_numpy,
        measure_python,
        measure_script,
    )
    from qgate.runtimes import find_spec
    from qgate.runtimes.launch import environment_for

    threads = plan.thresholds.runtime.threads or usable_processors()
    python_s = measure_python()
    slow = Multiplying(read_s=_SLOW_S, together_s=_SLOW_S, alone_s=_SLOW_S, alone_packed_s=_SLOW_S)
    runtimes = {one.artifact.id: plan.runtime_of(one.artifact).name for one in gated}
    measured = dict.fromkeys(runtimes.values(), slow) if is_small else {}
    speeds = {}
    for artifact, runtime in runtimes.items():
        if runtime not in measured:
            module, python = find_spec(runtime).speed, plan.python_of(runtime)
            found = module and measure_script(module, python, environment_for(python), threads)
            measured[runtime] = found or measure_numpy()
        speeds[artifact] = MachineSpeed(products=measured[runtime], python_s=python_s)
    return speeds


def estimate_run(
    artifacts: Iterable[Artifact],
    reference: Artifact,
    areas: Mapping[str, Iterable[str]],
    asks: Mapping[str, Ask],
    speeds: Mapping[str, MachineSpeed],
) -> dict[Phase, float]:
    """Seconds of each phase of each model, and of the run itself.

    Args:
        artifacts: that are gated.
        reference: what they are held against.
        areas: of each artifact by its id, the lines of the checklist of which rows were picked.
        asks: by phase, from `asks_of`.
        speeds: of this machine, by the id of the artifact; the reference's is the first one's.
    """
    weights = _weights(reference)
    expected: dict[Phase, float] = {}
    every: set[str] = set()
    of_artifact = {phase: ask for phase, ask in asks.items() if not phase.startswith(_REFERENCES)}
    for artifact in artifacts:
        picked = set(areas.get(artifact.id, ()))
        every |= picked
        size = Size(weights=weights, bytes=float(artifact.size_bytes))
        for phase, seconds in _phases(picked, of_artifact, size, speeds[artifact.id]):
            expected[artifact.id, phase] = seconds
    size = Size(weights=weights, bytes=float(reference.size_bytes))
    speed = next(iter(speeds.values()))
    own = {p.removeprefix(_REFERENCES): ask for p, ask in asks.items() if p.startswith(_REFERENCES)}
    for phase, seconds in _phases(every, {**of_artifact, **own}, size, speed):
        expected[f"reference {reference.id}", phase] = seconds
    expected["the run", "report"] = _PER_RUN_S * speed.python_s / _PYTHON_S
    return expected


def _phases(
    areas: set[str], asks: Mapping[str, Ask], size: Size, speed: MachineSpeed
) -> Iterator[tuple[str, float]]:
    if areas - {"integrity"}:
        yield "load", _PER_MODEL_S * speed.python_s / _PYTHON_S
    for phase, ask in asks.items():
        area = phase.partition(".")[0]
        is_picked = area in areas or (area == "perplexity" and "divergence" in areas)
        if is_picked:
            yield phase, seconds_of(ask, size, speed.products)


def seconds_of(ask: Ask, size: Size, products: Multiplying) -> float:
    """Seconds that a model of this size needs for what it is asked as a rule."""
    fetch_s = products.fetch_s(size.bytes / size.weights)
    read_s = size.weights * products.read_s / _READING + _PER_READ_S
    written_s = size.weights * products.together_s / _WRITING + _PER_TOKEN_S
    alone_s = size.weights * fetch_s / _ALONE + _PER_TOKEN_S
    reading_s = (ask.read + ask.scored * _SCORING) * read_s
    return ask.share * (reading_s + ask.written * written_s + ask.alone * alone_s)


def asks_of(
    thresholds: Thresholds,
    probes: Iterable[Probe],
    context_tokens: int,
    *,
    writes_text: bool = True,
) -> dict[str, Ask]:
    """What each phase asks of one model.

    Args:
        thresholds: of the run, sized by its effort.
        probes: of tasks and edge cases.
        context_tokens: the longest that the reference was trained for.
        writes_text: whether the reference writes the text that is scored.
    """
    text, latency, memory = thresholds.text, thresholds.latency, thresholds.memory
    a_window = text.conversation_tokens if writes_text else text.window_tokens
    tokens = text.windows * min(a_window, context_tokens)
    read, written = _BATCH_TOKENS
    batches = memory.warmup_batches + memory.batches * _share(0.5, memory.batches, 40)
    longest = min(memory.context_tokens, context_tokens)
    requests = latency.warmup + latency.pairs
    probes = tuple(probes)
    texts = sum(_size(probe) for probe in probes if probe.checks[0] == "edge.multilingual")
    return {
        "perplexity": Ask(scored=tokens, share=_share(0.7, text.windows, 32)),
        f"{_REFERENCES}perplexity": Ask(scored=tokens, written=tokens if writes_text else 0),
        **{probe.checks[0]: _ask(probe, thresholds, context_tokens) for probe in probes},
        f"{_REFERENCES}edge.multilingual": Ask(read=_DOCUMENT_TOKENS * texts),
        "latency": Ask(
            read=2 * requests * latency.prompt_tokens,
            alone=2 * requests * latency.output_tokens,
            share=_share(0.55, latency.pairs, 24),
        ),
        # both sides of its pairs are counted with the artifact: they take turns
        f"{_REFERENCES}latency": Ask(),
        "memory": Ask(read=longest + batches * read, alone=batches * written),
        f"{_REFERENCES}memory": Ask(read=longest),
    }


def _share(share: float, size: float, least: int) -> float:
    """Of what is asked before every verdict is certain: all of what is too little for two looks."""
    return share if size >= least else 1.0


def _size(probe: Probe) -> float:
    return float(getattr(probe, "size", 1))


def _ask(probe: Probe, thresholds: Thresholds, context_tokens: int) -> Ask:
    check, size, edge = probe.checks[0], _size(probe), thresholds.edge
    longest = min(edge.context_tokens, context_tokens)
    if check == "edge.long_input":
        tokens = max(longest, min(edge.context_tokens, _LONG_TOKENS))
        attention = 1 + tokens / (2 * _LONG_TOKENS)
        return Ask(read=size * tokens * attention, share=0.5 if size > 1 else 1.0)
    if check == "edge.multilingual":
        fewest = edge.languages * edge.documents
        return Ask(read=_DOCUMENT_TOKENS * (fewest if fewest < size else size * 0.25))
    if check == "edge.repetition":
        return Ask(read=size * 40, written=size * edge.answer_tokens)
    if check == "edge.batch_invariance":
        return Ask(read=size * 40, written=size * 8, alone=size * 8)
    if check == "edge.empty_prompt":
        return Ask(read=size * 2, written=size * 32)
    return _ask_of_items(probe, size)


def _ask_of_items(probe: Probe, size: float) -> Ask:
    """By the letters of the items where there is a file of them."""
    items = getattr(getattr(probe, "file", None), "items", ())
    if not items:
        return Ask(read=size * 200, written=size * 100)
    letters = sum(len(item.prompt) + sum(map(len, item.choices)) for item in items)
    answers = sum(len(item.answer) for item in items if not item.choices)
    written = answers * _TOKENS_A_CHARACTER + (8 * len(items) if answers else 0)
    return Ask(read=letters * _TOKENS_A_CHARACTER, written=written, share=_share(0.6, size, 32))
