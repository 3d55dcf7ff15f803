"""Asks a child what serving its model takes: once to the end of its context, and again and again.

Assumed: the child is fresh and has only loaded its model (footprint first, growth after it), so
that no number depends on what was measured before. What the numbers mean is in
`qgate.measure.memory.rows`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate import stats
from qgate.errors import MeasurementError
from qgate.measure.latency.interleaved import FIRST_ORDINARY_TOKEN
from qgate.runtimes.messages import Repeats
from qgate.runtimes.verbs import DESCRIBE, FILL_CONTEXT, REPEAT

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.measure.memory.nvml import DeviceMeter
    from qgate.records import Estimate
    from qgate.runtimes.host import Host
    from qgate.stats import Looks
    from qgate.thresholds import MemorySettings

PROMPT_TOKENS, OUTPUT_TOKENS = 16, 2
"""Of each batch of `measure_growth`."""
_FEWEST_BATCHES = 20
"""Fewer hardly show a leak that takes a block now and then (`qgate.stats.slope`)."""
_SEED = 0
_OVERLOOKED_SHARE, _OVERLOOKED_BYTES = 1.1, 64 * 1024 * 1024
"""What the system sees may exceed the account by this factor and so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one model took, served to the end of its context."""

    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    """Scratch and output buffers."""
    context_tokens: int
    """Cells of the KV cache."""
    pss_before_bytes: int
    """Proportional set of the child's process tree with the model loaded."""
    pss_bytes: int
    """The same with the context full."""
    peak_rss_bytes: int
    """Largest resident set of the child meanwhile."""
    device: str
    """What the runtime computes on: `cpu` or `gpu`."""
    device_peak_bytes: int | None = None
    """What serving added to the GPUs' used memory; None where nobody looked."""

    @property
    def allocated_bytes(self) -> int:
        """By the library's account."""
        return self.weights_bytes + self.kv_cache_bytes + self.compute_bytes

    @property
    def peak_bytes(self) -> int:
        if self.device_peak_bytes is not None:
            return self.device_peak_bytes
        return self.allocated_bytes

    @property
    def kv_bytes_per_token(self) -> float:
        return self.kv_cache_bytes / self.context_tokens

    def to_json(self) -> dict[str, Any]:
        names = [name for name in self.__slots__ if name != "device"]
        return {
            **{name: getattr(self, name) for name in names},
            "allocated_bytes": self.allocated_bytes,
            "unaccounted_bytes": self.pss_bytes
            - self.pss_before_bytes
            - self.kv_cache_bytes
            - self.compute_bytes,
        }


def measure_footprint(
    host: Host, context_tokens: int, meter: DeviceMeter | None = None
) -> Footprint:
    """Serve one sequence of `context_tokens` in a fresh child that has loaded its model.

    Args:
        host: the child.
        context_tokens: no more than the model was trained for.
        meter: opened before the child started, where it computes on GPUs.

    Raises:
        QGateError: the child failed, or the runtime or this system does not tell.
        MeasurementError: the system sees much more than the library's account has.
    """
    device = DESCRIBE.ask(host, None).device
    watching = contextlib.nullcontext() if meter is None else meter.watch()
    with watching as peak:
        found = FILL_CONTEXT.ask(host, context_tokens)
    taken = None if meter is None or peak is None else peak.used_bytes - meter.before_bytes
    footprint = Footprint(
        **dataclasses.asdict(found.buffers),
        pss_before_bytes=found.pss_before_bytes,
        pss_bytes=found.pss_bytes,
        peak_rss_bytes=found.peak_rss_bytes,
        device=device,
        device_peak_bytes=taken,
    )
    seen = footprint.pss_bytes - footprint.pss_before_bytes
    if seen > footprint.allocated_bytes * _OVERLOOKED_SHARE + _OVERLOOKED_BYTES:
        raise MeasurementError(
            f"memory.peak: the runtime's account leaves something out: got {seen} further bytes in"
            f" use with a full context; expected no more than the {footprint.allocated_bytes} bytes"
            " that it says it allocated"
        )
    return footprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Bytes in use after each batch."""

    bytes: np.ndarray
    """Shape (batches,), int64; those that warm up are left out."""
    warmup_batches: int
    looks: Looks
    """How many batches were taken."""

    def estimate(self, level: float) -> Estimate:
        """Bytes that each further batch takes."""
        found = stats.slope(self.bytes, level=self.looks.nominal(level), unit="bytes")
        return self.looks.held(found, level)

    def details(self) -> dict[str, Any]:
        return self.looks.details("of_batches")


def measure_growth(
    host: Host,
    settings: MemorySettings,
    n_vocab: int,
    is_decided: Callable[[Growth], bool] | None = None,
) -> Growth:
    """Bytes in use after each of `batches` identical requests.

    A request is 16 random tokens and 2 greedy ones after them: what leaks once a request shows
    fully, what leaks once a token shows 18-fold.

    Args:
        host: the child, its model loaded.
        settings: how many batches count.
        n_vocab: of the model.
        is_decided: whether the batches so far decide the row; None: all are taken.

    Returns:
        Anonymous memory of the child's process tree.

    Raises:
        QGateError: the child failed.
        MeasurementError: a batch was lost.
    """
    ends = (settings.batches,) if is_decided is None else batch_ends(settings.batches)
    warmup = settings.warmup_batches
    taken, before = [_repeat(host, n_vocab, warmup + ends[0])[warmup:]], 0
    for look, end in enumerate(ends, 1):
        if look > 1:
            taken.append(_repeat(host, n_vocab, end - before))
        before = end
        looks = stats.Looks(ends=ends, look=look)
        growth = Growth(bytes=np.concatenate(taken), warmup_batches=warmup, looks=looks)
        if looks.is_last or (is_decided is not None and is_decided(growth)):
            return growth
    raise AssertionError("batches end with the last")


def batch_ends(batches: int) -> tuple[int, ...]:
    """After how many batches the row is looked at."""
    half = batches // 2
    return (half, batches) if half >= _FEWEST_BATCHES else (batches,)


def _repeat(host: Host, n_vocab: int, times: int) -> np.ndarray:
    rng = np.random.default_rng(_SEED)
    ids = rng.integers(FIRST_ORDINARY_TOKEN, n_vocab, PROMPT_TOKENS).astype(np.int32)
    found = REPEAT.ask(host, Repeats(ids=ids, tokens=OUTPUT_TOKENS, times=times))
    if found.shape != (times,):
        raise MeasurementError(
            f"memory.growth: lost batches: got sizes of shape {found.shape}; expected {times}"
        )
    return found
