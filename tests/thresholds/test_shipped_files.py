"""The limits that the project ships are those it promises; its schema agrees with the reader."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.thresholds import (
    BANDS,
    EdgeSettings,
    LatencySettings,
    MemorySettings,
    RuntimeSettings,
    TextSettings,
    load_thresholds,
    shipped_path,
)
from tests.thresholds.team_files import GATED, LAYERED, REPOSITORY, SHIPPED, bounds, load

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = REPOSITORY / "thresholds" / "schema.json"


# The shipped file


def test_shipped_settings_are_the_defaults_of_the_code() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    assert shipped_path() == SHIPPED
    assert (thresholds.text, thresholds.runtime) == (TextSettings(), RuntimeSettings())
    assert thresholds.runtimes == {}
    assert (thresholds.edge, thresholds.latency, thresholds.memory) == (
        EdgeSettings(),
        LatencySettings(),
        MemorySettings(),
    )


def test_naming_the_shipped_file_changes_nothing(tmp_path: Path) -> None:
    assert load_thresholds(SHIPPED, tmp_path) == load_thresholds(None, REPOSITORY)


def test_every_shipped_number_is_reachable() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    reached = {
        limit.source.line
        for band in BANDS
        for limit in thresholds.limits_for("any", "unlisted", band).values()
    }
    lines = SHIPPED.read_text().splitlines()
    written = {
        number
        for number, line in enumerate(lines, 1)
        if re.search(r"(max|min|max_drop|max_rise|max_bytes):", line.partition("#")[0])
    }
    assert reached == written


PUBLISHED_INCREASES = {
    "2 bits": 3.0, "3 bits": 1.5, "4 bits": 0.5, "6-5 bits": 0.2, "8 bits": 0.05, "16 bits": 0.01,
    "8-bit activations": 0.5, "4-bit activations": 1.5,
}  # fmt: skip


def test_shipped_increases_are_those_that_the_project_promises() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    assert {
        band: thresholds.limits_for("any", "unlisted", band)["perplexity.increase"].max
        for band in PUBLISHED_INCREASES
    } == PUBLISHED_INCREASES


@pytest.mark.parametrize(
    ("kind", "band", "ratio", "kl_mean", "same_top"),
    [
        ("GPTQ W4", "4 bits", 39.746 / 39.616, 0.0031, 0.956),
        ("AWQ W4", "4 bits", 39.701 / 39.616, 0.0060, 0.939),
        ("NF4", "4 bits", 39.942 / 39.616, 0.0061, 0.941),
        ("INT8", "8 bits", 39.634 / 39.616, 0.0003, 0.990),
        ("W4A16", "4 bits", 39.794 / 39.616, 0.0029, 0.960),
        ("W8A8", "8-bit activations", 39.637 / 39.616, 0.0005, 0.986),
        ("FP8", "8-bit activations", 39.748 / 39.616, 0.0018, 0.970),
        ("torchao int8", "8 bits", 39.624 / 39.616, 0.0002, 0.993),
        # SmolLM2-135M on WikiText-2, of which no perplexity was noted
        ("int8, group 32", "8 bits", 1.0, 0.0016, 0.978),
        ("int8, per channel", "8 bits", 1.0, 0.0041, 0.958),
        ("W8A8", "8-bit activations", 1.0, 0.0400, 0.878),
        ("FP8", "8-bit activations", 1.0, 0.0345, 0.885),
    ],
)
def test_sound_artifacts_of_each_hf_family_hold_the_limits_of_their_bits(
    kind: str, band: str, ratio: float, kl_mean: float, same_top: float
) -> None:
    """The others: a Llama of 5 M parameters at a perplexity of 39.6, by each method's own tool."""
    limit = bounds(load_thresholds(None, REPOSITORY), "any", kind, band)
    assert ratio <= (limit["perplexity.ratio"] or 0)
    assert kl_mean <= (limit["divergence.kl_mean"] or 0)
    assert same_top >= (limit["divergence.same_top"] or 1)


@pytest.mark.parametrize(
    ("kind", "kl_mean"), [("int4, group 32", 0.332), ("int4, group 64", 0.484)]
)
def test_four_bits_rounded_to_nearest_fail_on_a_small_model(kind: str, kl_mean: float) -> None:
    limit = bounds(load_thresholds(None, REPOSITORY), "any", kind, "4 bits")
    assert kl_mean > (limit["divergence.kl_mean"] or 0)


SHIPPED_FOR_ALL = {
    "accuracy.classification": ("alarm", -0.03), "accuracy.next_sentence": ("alarm", -0.03),
    "accuracy.code": ("alarm", -0.05), "accuracy.drill": ("alarm", -0.05),
    "edge.math": ("alarm", -0.03), "edge.repetition": ("alarm", 0.05),
    "edge.termination": ("alarm", -0.05), "edge.answer_length": ("alarm", 1.1),
    "edge.batch_invariance": ("alarm", 0.05),
    "latency.ttft": ("alarm", 1.5), "latency.itl": ("alarm", 1.05), "latency.tps": ("alarm", 0.95),
    "memory.weights": ("certify", 1.0), "memory.kv_cache": ("certify", 1.02),
    "memory.peak": ("certify", 1.0), "memory.growth": ("alarm", 4096.0),
}  # fmt: skip


@pytest.mark.parametrize("band", BANDS)
def test_what_is_asked_of_use_speed_and_memory_does_not_depend_on_the_bits(band: str) -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    limits = thresholds.limits_for("any", "unlisted", band)
    bound = bounds(thresholds, "any", "unlisted", band)
    assert {check: (limits[check].rule, bound[check]) for check in SHIPPED_FOR_ALL} == (
        SHIPPED_FOR_ALL
    )


def test_every_band_has_a_limit_on_every_check_whatever_the_scheme() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    assert {layer.pattern for layer in thresholds.layers if layer.scope == "band"} == set(BANDS)
    assert not [layer for layer in thresholds.layers if layer.scope in ("scheme", "artifact")]
    for band in BANDS:
        limits = thresholds.limits_for("any", "unlisted", band)
        assert ", ".join(limits) == GATED
        assert {limit.rule for name, limit in limits.items() if limit.band} <= {"certify", "alarm"}


# The schema for editors


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True, text=True, check=False, cwd=REPOSITORY, timeout=60,
    )  # fmt: skip


def test_schema_file_is_fresh() -> None:
    assert SCHEMA.read_text() == run("qgate", "schema").stdout, (
        "stale; run: qgate schema > thresholds/schema.json"
    )


def test_schema_is_a_valid_draft_07_schema() -> None:
    checked = run("check_jsonschema", "--check-metaschema", str(SCHEMA))
    assert checked.returncode == 0, checked.stdout


def test_schema_accepts_the_shipped_file_and_what_the_reader_accepts(tmp_path: Path) -> None:
    texts = [
        LAYERED,
        "version: 1\nlimits: {perplexity.ratio: off}\n",
        "version: 1\nlimits: {divergence.same_top: {min: 0.9, rule: alarm, level: 0.9}}\n",
        "version: 1\nbands: {8 bits: {divergence.kl_mean: {max: 0.02}}, 6-5 bits: {}}\n",
        "version: 1\ntext: {source: auto, windows: 2}\nruntime: {stall_s: 1.5e-1}\n",
        "version: 1\nedge: {answer_tokens: 16}\nlatency: {pairs: 90}\nmemory: {batches: 30}\n",
        "version: 1\ntasks:\n  code: off\n"
        "  own: {file: own.jsonl, max_drop: 0.02, max_samples: 2}\n"
        "schemes: {Q8_0: {accuracy.own: {max_drop: 0, rule: alarm}}}\n",
        "version: 1\ntasks:\n  gsm8k: {max_drop: 0.02, rule: auto, num_fewshot: 0}\n"
        "  own: {file: own.jsonl, metric: accuracy, choices: true, max_drop: 0.02}\n",
        "version: 1\nlimits:\n  edge.math: {max_drop: 0.5, unit: difference}\n"
        "  edge.repetition: {max_rise: 0}\n  memory.growth: {max_bytes: 0}\n"
        "  latency.tps: {min: 2}\n  latency.itl_slo: {max_ms: 9, percentile: 50, level: 0.9}\n",
        "version: 1\nlimits: {memory.fits: {vram_gib: 24, context: 8192}}\n"
        "artifacts: {'a*': {memory.fits: {ram_gib: 0.5, context: 1, sequences: 8}}}\n",
        "version: 1\nruntime: {reference: vllm}\nruntimes: {vllm: {kv_cache_gib: 0.5}, fake: {}, "
        "openai_server: {url: 'https://host/v1', model: m, reference_url: 'http://host'}}\n",
    ]
    (tmp_path / "own.jsonl").write_text("{}\n")
    for number, text in enumerate(texts):
        load(tmp_path, text, name=f"good{number}.yaml")
    good = [str(path) for path in tmp_path.glob("*.yaml")]
    checked = run("check_jsonschema", "--schemafile", str(SCHEMA), str(SHIPPED), *good)
    assert (len(good), checked.returncode) == (len(texts), 0), checked.stdout


def test_schema_refuses_what_the_reader_refuses(tmp_path: Path) -> None:
    texts = [
        "limits: {}\n",
        "version: 2\n",
        "version: 1\nlimitz: {}\n",
        "version: 1\nlimits: {perplexity.incraese: {max: 1}}\n",
        "version: 1\nlimits: {perplexity.ratio: {max: 0.97}}\n",
        "version: 1\nlimits: {perplexity.ratio: {max: 5%}}\n",
        "version: 1\nlimits: {perplexity.ratio: {min: 1.1}}\n",
        "version: 1\nlimits: {perplexity.ratio: {rule: alarm}}\n",
        "version: 1\nlimits: {perplexity.ratio: {max: 1.1, level: 95}}\n",
        "version: 1\nschemes: {Q8_0: {divergence.same_top: {min: 90}}}\n",
        "version: 1\nbands: {8 bits: {divergence.same_top: {min: 90}}}\n",
        "version: 1\nbands: {8: {divergence.kl_mean: {max: 0.02}}}\n",
        "version: 1\nbands: {7 bits: {}}\n",
        "version: 1\nartifacts: {'a*': {perplexity.ratio: {max: 1.1, unit: nats}}}\n",
        "version: 1\ntext: {windows: 1}\n",
        "version: 1\nruntime: {name: llama.cpp}\n",
        "version: 1\nruntimes: {vllm: {kv_cache_gib: 0}}\n",
        "version: 1\nruntimes: {vllm: {url: 'http://host'}}\n",
        "version: 1\nruntimes: {vLLM: {}}\n",
        "version: 1\nruntimes: {other: {model: m}}\n",
        "version: 1\nruntimes: {openai_server: {url: host}}\n",
        "version: 1\nruntimes: {openai_server: {url: 'http://me:secret@host'}}\n",
        "version: 1\nedge: {answer_tokens: 15}\n",
        "version: 1\nlatency: {pairs: 5}\n",
        "version: 1\nmemory: {batches: 1.5}\n",
        "version: 1\ntasks: {own: {file: own.jsonl}}\n",
        "version: 1\ntasks: {own: {max_drop: 0, choices: true}}\n",
        "version: 1\ntasks: {own: {file: own.jsonl, max_drop: 0, num_fewshot: 0}}\n",
        "version: 1\ntasks: {own: {file: own.jsonl, max_drop: 0, choices: yes}}\n",
        "version: 1\nlimits: {edge.math: {max_drop: 0.1, rule: auto}}\n",
        "version: 1\ntasks: {own: {file: own.json, max_drop: 0}}\n",
        "version: 1\ntasks: {own: {file: own.jsonl, min: -0.1}}\n",
        "version: 1\ntasks: {My-Task: {file: own.jsonl, max_drop: 0}}\n",
        "version: 1\nlimits: {accuracy.My-Task: {max_drop: 0}}\n",
        "version: 1\nlimits: {accuracy.code: {min: -0.1}}\n",
        "version: 1\nlimits: {edge.math: {max_drop: 1}}\n",
        "version: 1\nlimits: {edge.repetition: {max: 0.1}}\n",
        "version: 1\nlimits: {latency.ttft: {max: 0}}\n",
        "version: 1\nlimits: {latency.ttft_slo: {max_ms: 200}}\n",
        "version: 1\nlimits: {latency.ttft_slo: {max_ms: 200, percentile: 0.95}}\n",
        "version: 1\nlimits: {memory.growth: {max: 4096}}\n",
        "version: 1\nlimits: {memory.fits: {vram: 24, context: 8192}}\n",
        "version: 1\nlimits: {memory.fits: {vram_gib: 24}}\n",
        "version: 1\nlimits: {memory.fits: {context: 8192}}\n",
        "version: 1\nlimits: {memory.fits: {vram_gib: 24, ram_gib: 64, context: 8192}}\n",
        "version: 1\nlimits: {memory.fits: {vram_gib: 24GB, context: 8192}}\n",
        "version: 1\nlimits: {memory.fits: {vram_gib: 24, context: 8192, rule: alarm}}\n",
    ]
    (tmp_path / "own.jsonl").write_text("{}\n")
    (tmp_path / "own.json").write_text("{}\n")
    for number, text in enumerate(texts):
        with pytest.raises(ThresholdsError):
            load(tmp_path, text, name=f"bad{number:02}.yaml")
    bad = sorted(str(path) for path in tmp_path.glob("*.yaml"))
    checked = run("check_jsonschema", "--schemafile", str(SCHEMA), *bad)
    assert [path for path in bad if path not in checked.stdout] == []
