"""The shipped limits on what others published, and the relations that hold them together.

Figures: README of llama.cpp's perplexity tool (Llama-3-8B, WikiText-2, f16 6.233), ThomasBaruzier's
table of Qwen2.5-0.5B-Instruct (f16 15.1819), eaddario's logs of Watt-Tool-8B (f16 7.534124),
quantgap's ledger (Qwen3-0.6B). Rows that a source does not tell are left out. The types of each
file's tensors are those that llama.cpp's quantizer gives at the model's sizes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest

from qgate.records import Bits
from qgate.thresholds import BANDS, band_of, load_thresholds
from qgate.verdict.increase import PUBLISHED_PERPLEXITY, settle
from tests.thresholds.mixes import (
    LLAMA_3_8B,
    QWEN_2_5_HALF_B,
    QWEN_3_0_6B,
    SMOLLM2_135M,
    Dimensions,
    bits_of,
    tensors_of,
)
from tests.thresholds.team_files import REPOSITORY, bounds

WIKITEXT = "wikitext-2 (raw, test)"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One row of a table; None where the source does not tell."""

    model: Dimensions
    scheme: str
    of: float = 0.0
    """The reference's perplexity."""
    ppl: float | None = None
    kl: float | None = None
    p99: float | None = None
    same_top: float | None = None


SOUND = {
    "Llama-3-8B Q8_0": Published(
        model=LLAMA_3_8B, scheme="Q8_0", of=6.23316, ppl=6.234284, kl=0.001355, same_top=0.97674
    ),
    "Llama-3-8B Q6_K": Published(
        model=LLAMA_3_8B, scheme="Q6_K", of=6.23316, ppl=6.253382, kl=0.005452, same_top=0.96031
    ),
    "Llama-3-8B Q5_K_M": Published(
        model=LLAMA_3_8B, scheme="Q5_K_M", of=6.23316, ppl=6.288607, kl=0.010762
    ),
    "Llama-3-8B Q5_0": Published(
        model=LLAMA_3_8B, scheme="Q5_0", of=6.23316, ppl=6.363224, kl=0.0222
    ),
    "Llama-3-8B Q4_K_M": Published(
        model=LLAMA_3_8B, scheme="Q4_K_M", of=6.23316, ppl=6.40866, kl=0.03127, same_top=0.91901
    ),
    "Llama-3-8B Q3_K_M": Published(
        model=LLAMA_3_8B, scheme="Q3_K_M", of=6.23316, ppl=6.89006, kl=0.1019
    ),
    "Watt-Tool-8B Q5_K_M": Published(
        model=LLAMA_3_8B, scheme="Q5_K_M", of=7.534124, ppl=7.586838, kl=0.004726, p99=0.036395,
        same_top=0.96547,
    ),
    "Watt-Tool-8B IQ3_M": Published(
        model=LLAMA_3_8B, scheme="IQ3_M", of=7.534124, ppl=8.037667, kl=0.066422, p99=0.518421
    ),
    "Qwen2.5-0.5B Q8_0": Published(
        model=QWEN_2_5_HALF_B, scheme="Q8_0", of=15.1819, ppl=15.2390
    ),
    "Qwen2.5-0.5B Q6_K": Published(
        model=QWEN_2_5_HALF_B, scheme="Q6_K", of=15.1819, ppl=15.2145
    ),
    "Qwen2.5-0.5B Q5_K_M": Published(
        model=QWEN_2_5_HALF_B, scheme="Q5_K_M", of=15.1819, ppl=15.4788
    ),
    "Qwen2.5-0.5B Q4_K_M": Published(
        model=QWEN_2_5_HALF_B, scheme="Q4_K_M", of=15.1819, ppl=15.4428
    ),
    "SmolLM2-135M Q8_0": Published(
        model=SMOLLM2_135M, scheme="Q8_0", of=18.84, ppl=18.937, kl=0.00393, p99=0.0224,
        same_top=0.9697,
    ),
    "SmolLM2-135M Q6_K": Published(
        model=SMOLLM2_135M, scheme="Q6_K", kl=0.00952, p99=0.0581, same_top=0.9395
    ),
}  # fmt: skip
POOR = {
    "Llama-3-8B Q4_0": Published(
        model=LLAMA_3_8B, scheme="Q4_0", of=6.23316, ppl=6.70166, kl=0.07194
    ),
    "Llama-3-8B Q2_K": Published(
        model=LLAMA_3_8B, scheme="Q2_K", of=6.23316, ppl=9.75316, kl=0.4451, same_top=0.71138
    ),
    "Qwen3-0.6B Q2_K": Published(model=QWEN_3_0_6B, scheme="Q2_K", kl=2.45535, same_top=0.3384),
    "SmolLM2-135M Q5_K_M": Published(
        model=SMOLLM2_135M, scheme="Q5_K_M", of=18.84, ppl=20.741, kl=0.07766, same_top=0.8646
    ),
    "SmolLM2-135M Q2_K": Published(model=SMOLLM2_135M, scheme="Q2_K", kl=0.459, same_top=0.581),
}


def broken(row: Published) -> set[str]:
    """The limits that a row's point values break, of those that it tells."""
    band = band_of(bits_of(row.scheme, row.model)).name
    limits = load_thresholds(None, REPOSITORY).limits_for("any", row.scheme, band)
    increase, _ = settle(
        "perplexity.increase",
        limits["perplexity.increase"],
        {"text": WIKITEXT, "reference_perplexity": row.of},
    )
    assert increase is not None
    most = {
        **{name: limit.max for name, limit in limits.items()},
        "perplexity.increase": increase.max,
    }
    values = {
        "perplexity.increase": None if row.ppl is None else row.ppl - row.of,
        "perplexity.ratio": None if row.ppl is None else row.ppl / row.of,
        "divergence.kl_mean": row.kl,
        "divergence.kl_p99": row.p99,
    }
    found = {
        name for name, value in values.items() if value is not None and value > (most[name] or 0)
    }
    if row.same_top is not None and row.same_top < (limits["divergence.same_top"].min or 0):
        found.add("divergence.same_top")
    return found


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_hold_the_limits_of_their_bits(name: str) -> None:
    assert broken(SOUND[name]) == set()


@pytest.mark.parametrize("name", POOR)
def test_poor_files_break_the_limits_of_their_bits(name: str) -> None:
    assert "divergence.kl_mean" in broken(POOR[name])


@pytest.mark.parametrize(
    ("ratio", "holds"), [(1.0038, True), (1.1648, True), (1.2070, True), (1.979, False)]
)
def test_good_files_of_two_bits_can_hold_the_limits_of_two_bits(ratio: float, holds: bool) -> None:
    """Qwen2.5-0.5B: Q8_0, Q2_K, IQ2_M, IQ1_S."""
    limits = bounds(load_thresholds(None, REPOSITORY), "any", "Q2_K", "2 bits")
    assert (ratio <= (limits["perplexity.ratio"] or 0)) is holds


BITS = {
    ("Q8_0", LLAMA_3_8B): (8.5, "8 bits"),
    ("Q6_K", LLAMA_3_8B): (6.56, "6-5 bits"),
    ("Q5_K_M", LLAMA_3_8B): (5.59, "6-5 bits"),
    ("Q5_0", LLAMA_3_8B): (5.5, "6-5 bits"),
    ("Q4_K_M", LLAMA_3_8B): (4.61, "4 bits"),
    ("Q4_0", LLAMA_3_8B): (4.5, "4 bits"),
    ("IQ4_XS", LLAMA_3_8B): (4.25, "4 bits"),
    ("Q3_K_M", LLAMA_3_8B): (3.68, "3 bits"),
    ("IQ3_M", LLAMA_3_8B): (3.51, "3 bits"),
    ("IQ3_XXS", LLAMA_3_8B): (3.06, "3 bits"),
    ("Q2_K", LLAMA_3_8B): (2.83, "2 bits"),
    ("Q2_K", QWEN_3_0_6B): (2.84, "2 bits"),
    ("IQ2_M", LLAMA_3_8B): (2.56, "2 bits"),
    ("Q6_K", QWEN_2_5_HALF_B): (7.34, "6-5 bits"),
    ("Q4_K_M", QWEN_2_5_HALF_B): (5.30, "4 bits"),
    # what SmolLM2's real files have
    ("Q6_K", SMOLLM2_135M): (7.4283, "6-5 bits"),
    ("Q5_K_M", SMOLLM2_135M): (5.9607, "6-5 bits"),
    ("Q4_K_M", SMOLLM2_135M): (5.3131, "4 bits"),
    ("Q3_K_M", SMOLLM2_135M): (4.5762, "4 bits"),
    ("Q2_K", SMOLLM2_135M): (4.0599, "4 bits"),
}


@pytest.mark.parametrize(("scheme", "model"), BITS)
def test_a_mix_counts_by_its_damage(scheme: str, model: Dimensions) -> None:
    effective, band = BITS[scheme, model]
    found = bits_of(scheme, model)
    assert found.effective == pytest.approx(effective, abs=0.01)
    assert found.effective <= found.mean + 1e-4
    assert band_of(found).name == band


def test_embedding_and_output_matrix_are_told_apart_and_do_not_count() -> None:
    found = bits_of("Q4_K_M", LLAMA_3_8B)
    assert (found.embedding, found.output) == (6.5625, 6.5625)
    without = [one for one in tensors_of("Q4_K_M", LLAMA_3_8B) if one.name.startswith("blk.")]
    assert found.mean == pytest.approx(
        8 * sum(one.n_bytes for one in without) / sum(one.n_elements for one in without), abs=1e-3
    )


# The relations between the rows of a band


@pytest.mark.parametrize("band", BANDS)
def test_the_rows_of_a_band_follow_from_its_divergence(band: str) -> None:
    limits = bounds(load_thresholds(None, REPOSITORY), "any", "unlisted", band)
    kl = limits["divergence.kl_mean"] or 0
    factor = 2.5 if kl <= 0.06 else 2.0
    assert limits["divergence.kl_p99"] == pytest.approx(30 * kl, rel=0.02)
    assert limits["divergence.same_top"] == pytest.approx(1 - 0.8 * math.sqrt(kl), abs=6e-4)
    assert limits["perplexity.ratio"] == pytest.approx(math.exp(factor * kl), abs=6e-4)
    worst = max(1.1, math.exp(2 * kl))
    assert limits["edge.long_input"] == pytest.approx(worst, abs=3e-3)
    assert limits["edge.multilingual"] == pytest.approx(worst, abs=3e-3)
    # the published increase and the ratio say about the same of Llama-3-8B
    as_increase = PUBLISHED_PERPLEXITY * (math.exp(factor * kl) - 1)
    assert 0.4 * as_increase <= (limits["perplexity.increase"] or 0) <= as_increase


# SmolLM2-135M, one damage alone in an otherwise sound Q8_0: mean KL on WikiText-2, 2 to 4 windows.
DAMAGED = {
    "noise of 10 % in layer 26": 0.010853, "noise of 10 % in layer 8": 0.012047,
    "noise of 10 % in layer 20": 0.013276, "noise of 10 % in layer 29": 0.039935,
    "layer 16's ffn_down by 1.5": 0.036459, "layers 16 and 17 swapped": 0.189832,
    "layer 12's gate and up swapped": 0.253712, "layer 27's k and v swapped": 0.759373,
    "embeddings of cyrillic": 0.021574, "embeddings of accented letters": 0.042972,
}  # fmt: skip
SOUND_8_BITS = {
    "Q8_0 on stories": 0.00324, "Q8_0 on WikiText-2": 0.00393, "Q8_0 on its own text": 0.00466,
    "int8 in groups of 32": 0.0016, "int8 by channel": 0.0041,
}  # fmt: skip


def test_the_limit_of_eight_bits_lies_between_sound_files_and_the_smallest_damage() -> None:
    kl = bounds(load_thresholds(None, REPOSITORY), "any", "Q8_0", "8 bits")["divergence.kl_mean"]
    assert kl is not None
    assert max(SOUND_8_BITS.values()) * 1.5 < kl < min(DAMAGED.values()) / 1.4


def test_bands_allow_more_from_one_to_the_next() -> None:
    thresholds = load_thresholds(None, REPOSITORY)
    allowed = [bounds(thresholds, "any", "unlisted", band) for band in BANDS]
    for stricter, looser in itertools.pairwise(allowed):
        assert (stricter["divergence.kl_mean"] or 0) <= (looser["divergence.kl_mean"] or 0)
        assert (stricter["perplexity.increase"] or 0) <= (looser["perplexity.increase"] or 0)


# Bands


@pytest.mark.parametrize(
    ("effective", "activations", "band"),
    [
        (32.0, 16, "16 bits"), (14.0, 16, "16 bits"), (13.99, 16, "8 bits"), (8.02, 16, "8 bits"),
        (7.5, 16, "8 bits"), (7.49, 16, "6-5 bits"), (5.4, 16, "6-5 bits"), (5.39, 16, "4 bits"),
        (4.13, 16, "4 bits"), (3.9, 16, "4 bits"), (3.89, 16, "3 bits"), (2.9, 16, "3 bits"),
        (2.89, 16, "2 bits"), (1.56, 16, "2 bits"),
        (8.02, 8, "8-bit activations"), (6.0, 8, "8-bit activations"), (4.16, 8, "4 bits"),
        (4.5, 4, "4-bit activations"), (8.02, 4, "4-bit activations"),
        (3.4, 4, "4-bit activations"), (2.3, 4, "2 bits"),
    ],
)  # fmt: skip
def test_an_artifact_is_held_to_the_looser_of_what_weights_and_inputs_allow(
    effective: float, activations: int, band: str
) -> None:
    bits = Bits(effective=effective, mean=effective, activations=activations)
    assert band_of(bits).name == band


def test_what_does_not_tell_its_bits_is_held_to_four_and_says_so() -> None:
    assert str(band_of(None)) == "4 bits: its files do not tell how many bits a weight has"


def test_a_band_says_why() -> None:
    bits = Bits(effective=8.0234, mean=8.0234, embedding=16.0, group=0, activations=8)
    assert str(band_of(bits)) == (
        "8-bit activations: 8.02 effective bits a weight, a scale a channel, activations 8, "
        "embedding 16.00"
    )
