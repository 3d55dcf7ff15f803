"""The most that torch holds while something runs.

On a GPU the account is that of torch's caching allocator (`torch.cuda.max_memory_allocated`). On a
CPU torch keeps none; its profiler tells of every allocation and release, and the peak is the
largest sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable

_ALLOCATION = "[memory]"


def peak_bytes(work: Callable[[], None]) -> int:
    """The most that was allocated at a time while `work` ran, over what was before it.

    Raises:
        MeasurementError: torch's profiler does not tell.
    """
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return int(torch.cuda.max_memory_allocated() - before)
    on_cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=on_cpu, profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    sizes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == _ALLOCATION]
    held = peak = 0
    for _, size in sorted(sizes, key=lambda one: one[0]):
        held += size
        peak = max(peak, held)
    if not peak:
        raise MeasurementError("memory: torch's profiler saw no allocation; expected some")
    return peak
