"""What serving takes of the machine's memory, seen from inside the child (Linux).

    pss_bytes        proportional set size of the process tree: pages shared with others count by
                     their share, so that a file mapped twice is not counted twice
    anonymous_bytes  the part of it that no file backs, where leaks are
    peak_rss_bytes   the largest resident set since it was last forgotten (`VmHWM`)

`/proc/PID/smaps_rollup` and `clear_refs` are in proc(5). RSS would count every mapped page of the
model in each process that maps it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.messages import ContextMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.runtimes.base import MemoryReporter, Progress, Runtime
    from qgate.runtimes.messages import Repeats

_FORGET_PEAK = "5"


def fill_context(runtime: MemoryReporter, tokens: int) -> ContextMemory:
    """Serve one sequence of `tokens`: the library's own account, and what the system saw.

    Raises:
        MeasurementError: this system or this runtime does not tell.
    """
    _forget_peak()
    before = tree_pss_bytes()
    buffers = runtime.fill_context(tokens)
    return ContextMemory(
        buffers=buffers,
        pss_before_bytes=before,
        pss_bytes=tree_pss_bytes(),
        peak_rss_bytes=_status_bytes("VmHWM"),
    )


def repeat_batches(runtime: Runtime, asked: Repeats, progress: Progress) -> np.ndarray:
    """Anonymous bytes of the process tree after each of some identical requests.

    Shape (times,), int64. Not its whole proportional set: that changes whenever another process
    maps or leaves the same libraries, the reference's child among them.
    """
    sizes = np.empty(asked.times, dtype=np.int64)
    with _quick_collections():
        for number in range(asked.times):
            for _ in runtime.stream(asked.ids, asked.tokens):
                pass
            gc.collect()  # what waits for it is no leak, and comes and goes in steps
            sizes[number] = tree_anonymous_bytes()
            progress("repeating a batch", number, asked.times)
    return sizes


@contextlib.contextmanager
def _quick_collections() -> Iterator[None]:
    """Look only at what is made in the block: the 400,000 objects of torch take 0.2 s each time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def tree_pss_bytes() -> int:
    """Of this process and everything that it started."""
    return sum(_rollup_bytes(pid, "Pss") for pid in _tree(os.getpid()))


def tree_anonymous_bytes() -> int:
    """Of these, what no file backs: heaps, stacks and shared memory."""
    return sum(
        _rollup_bytes(pid, kind) for pid in _tree(os.getpid()) for kind in ("Pss_Anon", "Pss_Shmem")
    )


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # a thread that has just ended
                continue
    return found


def _rollup_bytes(pid: int, kind: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError as error:
        if pid != os.getpid():
            return 0  # a child that has just ended
        raise _unknown(error) from error
    return _kib(text, kind)


def _status_bytes(name: str) -> int:
    try:
        return _kib(Path("/proc/self/status").read_text(), name)
    except OSError as error:
        raise _unknown(error) from error


def _kib(text: str, name: str) -> int:
    match = re.search(rf"^{name}:\s+([0-9]+) kB$", text, re.MULTILINE)
    if match is None:
        raise _unknown(f"no {name}")
    return int(match[1]) * 1024


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(_FORGET_PEAK)
    except OSError as error:
        raise _unknown(error) from error


def _unknown(reason: object) -> MeasurementError:
    return MeasurementError(
        f"memory: this system does not tell what a process uses: got {reason};"
        " expected /proc/self/smaps_rollup and clear_refs. Gate memory on Linux"
    )
