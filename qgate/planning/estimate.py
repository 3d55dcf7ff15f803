"""How long a run will take, from what it asks at most and how fast this machine is.

    seconds = tokens read x 2 x weights / flops                      prompts and scored text
            + tokens written side by side, as the same, or as bytes of the weights / bandwidth
            + tokens written one by one x bytes of the weights / bandwidth
            + what every call and every model costs anyway

`MachineSpeed` is of numpy; the shares that runtimes get of it, and how much of what may be asked
is asked as a rule before a verdict is certain, were fitted on two CPU cores to SmolLM2-135M (F16,
Q8_0, Q4_K_M, Q2_K) and the demo model. On a GPU nothing is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qgate.measure.probes import Probe
    from qgate.planning.clock import Phase
    from qgate.planning.machine import MachineSpeed
    from qgate.planning.plan import RunPlan
    from qgate.records import Artifact
    from qgate.thresholds import Thresholds

_READING = 0.75
"""Share of numpy's flops at which a runtime reads many tokens in a call."""
_WRITING = 0.6
"""The same where 8 to 32 sequences go on by a token each."""
_BANDWIDTH = 0.8
"""Share of a copy's bytes a second at which weights are read for a token."""
_PER_TOKEN_S = 0.00025
"""Of a written token, beside the model: sampling, Python."""
_PER_MODEL_S = 2.0
"""A child that starts and loads, and its part of what the run itself takes."""
_TOKENS_A_CHARACTER = 0.3
_LONG_TOKENS = 4096
"""Of a long text, where attention adds half to the time of reading (fitted); of a model with a
shorter context as many texts are asked as take as long."""
_BATCH_TOKENS = (16, 2)
"""Read and written by a batch of memory.growth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a phase asks of a model at most, in tokens."""

    read: float = 0.0
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
    from qgate.planning.machine import measure_speed
    from qgate.reference.texts import is_written

    gated = [one for one in plan.artifacts if set(areas.get(one.artifact.id, ())) - {"integrity"}]
    if plan.reference is None or not gated or not all(one.is_on_cpu for one in gated):
        return {}
    context = plan.reference.context_length or plan.thresholds.edge.context_tokens
    writes_text = is_written(plan.thresholds.text, plan.directory)
    asks = asks_of(plan.thresholds, plan.probes(), context, writes_text=writes_text)
    models = [one.artifact for one in gated]
    return estimate_run(models, plan.reference, areas, asks, measure_speed())


def estimate_run(
    artifacts: Iterable[Artifact],
    reference: Artifact,
    areas: Mapping[str, Iterable[str]],
    asks: Mapping[str, Ask],
    speed: MachineSpeed,
) -> dict[Phase, float]:
    """Seconds of each phase of each model.

    Args:
        artifacts: that are gated.
        reference: what they are held against.
        areas: of each artifact by its id, the lines of the checklist of which rows were picked.
        asks: by phase, from `asks_of`.
        speed: of this machine.
    """
    weights = reference.size_bytes / (4.0 if reference.scheme.casefold().endswith("32") else 2.0)
    expected: dict[Phase, float] = {}
    every: set[str] = set()
    for artifact in artifacts:
        picked = set(areas.get(artifact.id, ()))
        every |= picked
        size = Size(weights=weights, bytes=float(artifact.size_bytes))
        for phase, seconds in _phases(picked, asks, size, speed):
            expected[artifact.id, phase] = seconds
    size = Size(weights=weights, bytes=float(reference.size_bytes))
    of_reference = {**asks, "latency": Ask(), "perplexity": asks["reference's text"]}
    for phase, seconds in _phases(every, of_reference, size, speed):
        expected[f"reference {reference.id}", phase] = seconds
    return expected


def _phases(
    areas: set[str], asks: Mapping[str, Ask], size: Size, speed: MachineSpeed
) -> Iterator[tuple[str, float]]:
    if areas - {"integrity"}:
        yield "load", _PER_MODEL_S
    for phase, ask in asks.items():
        area = phase.partition(".")[0]
        is_picked = area in areas or (area == "perplexity" and "divergence" in areas)
        if is_picked:
            yield phase, seconds_of(ask, size, speed)


def seconds_of(ask: Ask, size: Size, speed: MachineSpeed) -> float:
    """Seconds that a model of this size needs for what it is asked as a rule."""
    multiplied_s = 2 * size.weights / speed.flops
    fetched_s = size.bytes / (_BANDWIDTH * speed.bytes_per_s)
    read_s = ask.read * multiplied_s / _READING
    written_s = ask.written * (max(multiplied_s / _WRITING, fetched_s / 16) + _PER_TOKEN_S)
    alone_s = ask.alone * (max(multiplied_s / _WRITING, fetched_s) + _PER_TOKEN_S)
    return ask.share * (read_s + written_s + alone_s)


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
    requests = latency.warmup + latency.pairs
    return {
        "perplexity": Ask(read=tokens, share=_share(0.7, text.windows, 32)),
        "reference's text": Ask(read=tokens, written=tokens if writes_text else 0),
        **{probe.checks[0]: _ask(probe, thresholds, context_tokens) for probe in probes},
        "latency": Ask(
            # both sides of a pair are counted with the artifact: they take turns
            read=2 * requests * latency.prompt_tokens,
            alone=2 * requests * latency.output_tokens,
            share=_share(0.55, latency.pairs, 24),
        ),
        "memory": Ask(
            read=min(memory.context_tokens, context_tokens) + batches * read,
            alone=batches * written,
        ),
    }


def _share(share: float, size: float, least: int) -> float:
    """Of what is asked before every verdict is certain: all of what is too little for two looks."""
    return share if size >= least else 1.0


def _ask(probe: Probe, thresholds: Thresholds, context_tokens: int) -> Ask:
    check, size, edge = probe.checks[0], float(getattr(probe, "size", 1)), thresholds.edge
    longest = min(edge.context_tokens, context_tokens)
    if check == "edge.long_input":
        tokens = max(longest, min(edge.context_tokens, _LONG_TOKENS))
        attention = 1 + tokens / (2 * _LONG_TOKENS)
        return Ask(read=size * tokens * attention, share=0.5 if size > 1 else 1.0)
    if check == "edge.multilingual":
        fewest = edge.languages * edge.documents
        return Ask(read=60 * (fewest if fewest < size else size * 0.25))
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
