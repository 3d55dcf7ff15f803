"""Threads that work through a list together. Runs in the child.

For pieces of a tenth of a millisecond: a `ThreadPoolExecutor` alone wakes a thread for each of
them, which costs a third of that on a virtual machine.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self, TypeVar

from qgate.confinement.processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")
Result = TypeVar("Result")


class ThreadTeam:
    """The calling thread and some more; a context manager.

    Args:
        threads: how many in all; 0: one for each processor that may be used.
    """

    def __init__(self, threads: int = 0) -> None:
        self._others = (threads or usable_processors()) - 1
        self._pool = ThreadPoolExecutor(max_workers=max(1, self._others))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """The results in the order of the items; each thread takes the next item when it is free.

        Raises:
            Exception: whatever `work` raised; items that were not begun by then may be left out.
        """
        todo: queue.SimpleQueue[tuple[int, Item]] = queue.SimpleQueue()
        for numbered in enumerate(items):
            todo.put(numbered)
        done: dict[int, Result] = {}

        def run() -> None:
            while True:
                try:
                    number, item = todo.get_nowait()
                except queue.Empty:
                    return
                done[number] = work(item)

        others = [self._pool.submit(run) for _ in range(min(self._others, todo.qsize() - 1))]
        run()
        for other in others:
            other.result()
        return [done[number] for number in range(len(done))]
