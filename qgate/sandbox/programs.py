"""What is run, within what, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A solution; it passes where it and its checks run to their last lines."""

    name: str
    code: str
    checks: str = ""
    """Run in a process of their own wherever they can be, see `qgate.sandbox.one_process`."""

    @property
    def whole(self) -> str:
        """Solution and checks in one text, as they are run in one process."""
        return f"{self.code}\n{self.checks}" if self.checks else self.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may use; per process where not said otherwise."""

    wall_s: float = 10.0
    """From the start of its sandbox, which takes about 0.1 s of it, for all its processes."""
    cpu_s: int = 10
    memory_bytes: int = 1 << 30
    """Of address space, the interpreter's own included."""
    file_bytes: int = 1 << 20
    """Of one file; all files together: sixteen times as much."""
    processes: int = 16
    """At once, threads included."""
    output_bytes: int = 64 << 10
    """Of all processes together; who prints more is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a program ended."""

    passed: bool
    why: str
    """One line on what stopped it, in the program's own words in part; empty where it passed."""
    wall_s: float
    is_stopped: bool = False
    """Whether it was ended from outside, at its time or its output."""
    in_one_process: str = ""
    """Why it had its checks in its own process, where it could have cheated them."""
