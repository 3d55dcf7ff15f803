"""Runs programs, a few at a time, and says how each ended."""

from __future__ import annotations

import dataclasses
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from qgate.confinement.processors import usable_processors
from qgate.errors import MeasurementError
from qgate.sandbox import process as child
from qgate.sandbox.one_process import Apart, plan_checks
from qgate.sandbox.programs import Outcome
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qgate.runtimes.host import ProgressSink
    from qgate.sandbox.isolation import Isolation
    from qgate.sandbox.process import Ended
    from qgate.sandbox.programs import Limits, Program

_BEGAN = b"began\n"
_LONGEST = 300
"""Characters of a line on why a program failed."""


def run_programs(
    programs: Sequence[Program],
    limits: Limits,
    isolation: Isolation,
    progress: ProgressSink | None = None,
) -> list[Outcome]:
    """Run each program; outcomes in the programs' order, as many at a time as there are CPUs.

    Raises:
        MeasurementError: a sandbox did not come up or did not go away, which is no program's fault.
    """
    is_over = threading.Event()
    with ThreadPoolExecutor(usable_processors()) as pool:
        runs = [pool.submit(_run, each, limits, isolation, is_over.is_set) for each in programs]
        try:
            for done, run in enumerate(as_completed(runs), 1):
                run.result()
                if progress is not None:
                    progress("programs", done, len(runs))
        finally:
            is_over.set()
            pool.shutdown(cancel_futures=True)
    return [run.result() for run in runs]


def _run(
    program: Program, limits: Limits, isolation: Isolation, is_over: Callable[[], bool]
) -> Outcome:
    apart = plan_checks(program.checks) if program.checks else None
    reason = apart if isinstance(apart, str) else ""
    if isinstance(apart, Apart):
        ended = _ended(program, apart, limits, isolation, is_over)
        if not ended.verdict.startswith(_BEGAN + child.NEEDS):
            return _outcome(ended)
        reason = _line(ended.verdict.removeprefix(_BEGAN + child.NEEDS))
    ended = _ended(program, None, limits, isolation, is_over)
    return dataclasses.replace(_outcome(ended), in_one_process=reason)


def _ended(
    program: Program,
    apart: Apart | None,
    limits: Limits,
    isolation: Isolation,
    is_over: Callable[[], bool],
) -> Ended:
    ended = child.run(program, apart, limits, isolation, is_over)
    if not ended.verdict.startswith(_BEGAN):
        how = ended.stopped or f"exit code {ended.code}"
        words = _last_line(ended.output)
        raise MeasurementError(
            f"code_execution: the sandbox of {printable(program.name)} did not come up: {how}"
            + (f"; last words: {words}" if words else "")
        )
    return ended


def _outcome(ended: Ended) -> Outcome:
    why = _why(ended)
    stopped = bool(ended.stopped)
    return Outcome(passed=not why, why=why, wall_s=ended.wall_s, is_stopped=stopped)


def _why(ended: Ended) -> str:
    """What stopped a program; empty where nothing did."""
    said = ended.verdict.removeprefix(_BEGAN)
    if ended.stopped:
        return ended.stopped
    is_at_its_end = said == ended.token[::-1]
    if is_at_its_end and ended.code == 0:
        return ""
    if ended.token in said:
        return "said what only the runner may say"
    if said and not is_at_its_end:
        return _line(said)
    when = "after" if is_at_its_end else "before"
    words = _last_line(ended.output)
    return f"left {when} its end: {_code(ended.code)}" + (f"; last words: {words}" if words else "")


def _code(code: int) -> str:
    try:
        return f"exit code {code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return f"exit code {code}"


def _last_line(output: bytes) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return _line(lines[-1]) if lines else ""


def _line(text: bytes) -> str:
    shown = printable(" ".join(text.decode(errors="replace").split()))
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"
