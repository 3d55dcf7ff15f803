"""A report with every row of the checklist: one artifact that holds, and one that is damaged."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from qgate.checks import CHECKS, accuracy_check
from qgate.records import (
    ArtifactReport,
    Estimate,
    Limit,
    Record,
    Report,
    RuntimeFacts,
    SourceLine,
    Verdict,
)
from qgate.verdict import explain, judge

INTEGRITY = (
    "integrity.files",
    "integrity.scheme",
    "integrity.weights",
    "integrity.tokenizer",
    "integrity.special_tokens",
    "integrity.chat_template",
)
LLAMA_CPP = RuntimeFacts(name="llama_cpp", version="0.3.36", device="cpu")
TRANSFORMERS = RuntimeFacts(name="transformers", version="5.17.0", device="cpu")
VLLM = RuntimeFacts(name="vllm", version="0.32.0+cpu", device="cpu")
Numbers = tuple[float, float, float]


def sound() -> ArtifactReport:
    """4 bits that hold every limit."""
    records = (
        *holds(*INTEGRITY),
        row("perplexity.increase", (0.0078, 0.0053, 0.011), 0.5),
        row("perplexity.ratio", (1.005, 1.003, 1.007), 1.05),
        row("divergence.kl_mean", (0.00492, 0.0035, 0.00723), 0.06),
        row("divergence.kl_p99", (0.0509, 0.04, 0.0746), 0.48),
        row("divergence.same_top", (0.959, 0.953, 0.965), 0.9),
        drop("accuracy.classification", (0.0, -0.0188, 0.0188), -0.03, 1.0),
        drop("accuracy.next_sentence", (-0.005, -0.0277, 0.0169), -0.03, 0.5),
        drop("accuracy.code", (-0.015, -0.044, 0.012), -0.05, 0.227),
        drop("accuracy.drill", (0.01, -0.0183, 0.0397), -0.05, 0.891),
        family("edge.long_input", "text at 256-384 tokens", 6, (1.008, 1.001, 1.015), 1.1),
        family("edge.multilingual", "hi", 8, (1.019, 1.008, 1.03), 1.1),
        drop("edge.math", (-0.01, -0.0361, 0.0141), -0.03, 0.344),
        drop("edge.repetition", (0.0104, -0.0312, 0.0565), 0.05, 0.5),
        drop("edge.termination", (0.0, -0.0385, 0.0385), -0.05, 1.0),
        row("edge.answer_length", (1.021, 1.0, 1.079), 1.1, rule="alarm", n=96),
        drop("edge.batch_invariance", (0.0, -0.107, 0.107), 0.05, 1.0),
        drop("edge.empty_prompt", (0.0, -0.0741, 0.0741), 0.05, 1.0),
        family("edge.context_limit", "the last tokens", 1, (1.004, 0.992, 1.016), 1.1),
        row("latency.ttft", (1.12, 1.09, 1.16), 1.5, rule="alarm", n=24),
        row("latency.itl", (0.652, 0.634, 0.671), 1.05, rule="alarm", n=24),
        row("latency.tps", (1.532, 1.489, 1.579), 0.95, rule="alarm", n=24),
        row("latency.ttft_slo", (14.6, 14.0, 15.9), 200, n=90, level=0.98, percentile=95),
        exact("memory.weights", 0.3204, 1.0),
        exact("memory.kv_cache", 1.0, 1.02),
        exact("memory.peak", 0.7143, 1.0),
        row("memory.growth", (0.0, -310.2, 310.2), 4096, rule="alarm", n=60),
        exact("memory.fits", 0.0231, 24.0, is_vram=0.0, context=8192, sequences=1),
    )
    measured = {
        "accuracy": 0.9388,
        "ttft_ms": 14.0,
        "output_tps": 712.4,
        "peak_memory_bytes": 22_390_000,
        "time.load_s": 0.21,
        "time.memory_s": 1.9,
        "time.latency_s": 4.37,
        "time.perplexity_s": 3.2,
        "time.accuracy.code_s": 1.44,
        "time.edge.math_s": 0.91,
        "time.edge.long_input_s": 2.05,
    }
    return artifact("qgate-demo-Q4_K_M", "Q4_K_M", 2_300_000, records, measured)


def damaged() -> ArtifactReport:
    """2 bits: damage in every area, a row that cannot tell, and one that was not measured."""
    lost = "memory.growth: the child ended: got signal 9; expected 60 batches."
    records = (
        *holds(*INTEGRITY),
        row("perplexity.increase", (0.81, 0.66, 0.97), 3.0),
        row("divergence.kl_mean", (0.121, 0.055, 0.127), 0.06),
        drop("accuracy.drill", (-0.16, -0.221, -0.106), -0.05, 1.1e-9),
        family("edge.multilingual", "hi", 8, (1.31, 1.28, 1.34), 1.1),
        drop("edge.repetition", (0.104, 0.0423, 0.181), 0.05, 0.00098),
        row("latency.tps", (0.933, 0.908, 0.961), 0.95, n=24),
        exact("memory.peak", 1.0004, 1.0),
        Record(name="memory.growth", verdict=Verdict.ERROR, message=lost),
    )
    measured = {"accuracy": 0.801, "output_tps": 96.25, "time.load_s": 190.0}
    return artifact("qgate-demo-Q2_K", "Q2_K", 1_700_000, records, measured)


def full_report() -> Report:
    """Both, against a reference that was timed and weighed, too."""
    return Report(
        verdict=Verdict.ERROR,
        environment={},
        reference={
            "id": "qgate-demo-F16",
            "scheme": "F16",
            "size_bytes": 7_300_000,
            "perplexity": {"value": 1.6071, "n": 16320},
            "text": {"name": "generated, seed 0", "digest": "sha256:" + "98" * 32},
            "measured": {
                "accuracy": 0.9413,
                "ttft_ms": 12.51,
                "output_tps": 465.2,
                "peak_memory_bytes": 31_350_000,
                "time.load_s": 0.3,
                "time.perplexity_s": 5.1,
            },
        },
        artifacts=(sound(), damaged()),
    )


def artifact(
    identifier: str,
    scheme: str,
    size_bytes: int,
    records: tuple[Record, ...],
    measured: dict[str, float],
) -> ArtifactReport:
    worst = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
    found = {record.verdict for record in records}
    return ArtifactReport(
        id=identifier,
        path=f"models/{identifier}.gguf",
        format="gguf",
        scheme=scheme,
        size_bytes=size_bytes,
        verdict=next(verdict for verdict in worst if verdict in found),
        records=records,
        runtime=LLAMA_CPP,
        measured=measured,
    )


def holds(*names: str) -> tuple[Record, ...]:
    return tuple(Record(name=name, verdict=Verdict.PASS, message=name) for name in names)


def row(
    name: str,
    numbers: Numbers,
    bound: float,
    *,
    rule: Literal["certify", "alarm"] = "certify",
    n: int = 16320,
    level: float = 0.95,
    p_value: float | None = None,
    **parameters: float,
) -> Record:
    known = accuracy_check(name[9:]) if name.startswith("accuracy.") else CHECKS[name]
    value, low, high = numbers
    found = Estimate(
        value=value,
        low=low,
        high=high,
        level=level,
        n=n,
        unit=known.unit,
        method="exact" if n == 1 else "t",
        p_value=p_value,
        test="exact McNemar" if p_value is not None else "",
    )
    limit = Limit(
        check=name,
        rule=rule,
        source=SourceLine("thresholds/default.yaml", 14),
        level=level,
        parameters=parameters,
        **{known.bound: bound},
    )
    verdict = judge(found, limit)
    windows = 64 if name.startswith(("perplexity.", "divergence.")) else 0
    message = explain(name, found, limit, verdict, asked=windows)
    return Record(name=name, verdict=verdict, message=message, estimate=found, limit=limit)


def drop(name: str, numbers: Numbers, bound: float, p_value: float) -> Record:
    """Paired yes/no answers."""
    n = 200 if name.startswith(("accuracy", "edge.math")) else 96
    return row(name, numbers, bound, rule="alarm", n=n, p_value=p_value)


def family(name: str, member: str, count: int, numbers: Numbers, bound: float) -> Record:
    alone = row(name, numbers, bound, rule="alarm")
    found, limit = alone.estimate, alone.limit
    assert found
    assert limit
    details: dict[str, Any] = {"member": member}
    message = explain(name, found, limit, alone.verdict, member=member, member_count=count)
    return dataclasses.replace(alone, message=message, details=details)


def exact(name: str, value: float, bound: float, **parameters: float) -> Record:
    return row(name, (value, value, value), bound, n=1, **parameters)


def mixed_report() -> Report:
    """Four formats in three runtimes: the GGUF file ran where the reference does not load."""
    no_vllm, at_load = "no GPU; vLLM is not installed", "quantized while it is loaded"
    on_hand, loading = "TorchAtenLinear", "4 bit nf4, double, while loading"
    w4a16 = "qgate-demo-w4a16-by-llmcompressor"
    artifacts = (
        serve("qgate-demo-Q4_K_M", "Q4_K_M", "", LLAMA_CPP, reason="gguf"),
        serve(
            "qgate-demo-gptq", "gptq", "4 bit, group 128", TRANSFORMERS, on_hand, reason=no_vllm
        ),
        serve("qgate-demo-nf4", "bitsandbytes", loading, TRANSFORMERS, "Linear4bit", at_load),
        serve(
            w4a16, "compressed-tensors", "W4A16 int4, group 128", VLLM, "CPUWNA16LinearKernel",
            reason="--qgate-runtime",
        ),
    )  # fmt: skip
    reference = {
        "id": "qgate-demo",
        "scheme": "float16",
        "size_bytes": 7_300_000,
        "perplexity": {"value": 1.6071, "n": 16320},
        "runtime": dataclasses.asdict(dataclasses.replace(TRANSFORMERS, kernel="Linear")),
        "elsewhere": [
            {
                "id": "qgate-demo",
                "runtime": dataclasses.asdict(VLLM),
                "runtime_difference": {
                    "value": 1.00012, "low": 0.99987, "high": 1.00037, "n": 16320,
                },
            },
        ],
    }  # fmt: skip
    return Report(verdict=Verdict.PASS, environment={}, reference=reference, artifacts=artifacts)


def serve(
    identifier: str,
    scheme: str,
    words: str,
    runtime: RuntimeFacts,
    kernel: str = "",
    reason: str = "",
) -> ArtifactReport:
    timed = row("latency.tps", (0.612, 0.594, 0.631), 0.5, rule="alarm", n=24)
    if runtime is TRANSFORMERS:
        message = "latency.tps: measured, but no limit applies to it"
        timed = dataclasses.replace(timed, verdict=Verdict.SKIPPED, limit=None, message=message)
    ratio = row("perplexity.ratio", (1.005, 1.003, 1.007), 1.05)
    records = (*holds("integrity.files"), ratio, timed)
    made = artifact(identifier, scheme, 2_300_000, records, {"time.load_s": 14.0})
    return dataclasses.replace(
        made,
        quantization=words,
        format="gguf" if runtime is LLAMA_CPP else "hf",
        runtime=dataclasses.replace(runtime, kernel=kernel, reason=reason),
        compared_with={"runtime": "vllm" if runtime is VLLM else "transformers"},
    )
