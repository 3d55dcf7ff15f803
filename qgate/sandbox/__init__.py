"""Runs programs that a model wrote, without letting them near anything.

A program is a solution, and the checks that it is held against. It passes where both run to their
last lines and its process then ends by itself with code 0. Each program gets a child of its own, in
namespaces that bubblewrap makes, or util-linux's `unshare` where bubblewrap is missing. In there
the solution runs in one process and the checks in another, which alone holds the expected answers
(`qgate.sandbox.checks_side`). What holds them:

- Network: a namespace with nothing in it but a loopback of its own; sockets other than Unix and
  internet ones are refused.
- Files: the interpreter's library, /usr/bin, /usr/lib and their like, all read-only. Not there at
  all: home directories, the project, the caller's working directory, /etc, /proc, /sys, /run. The
  one place to write is an empty /tmp in memory, HOME and working directory at once, which vanishes
  with the program and holds sixteen times `file_bytes`.
- Environment: a fixed one of a few names. No standard input, no open files of the caller's.
- Processes: a PID namespace, killed as a whole when the program ends, prints too much or runs out
  of time. `processes` bounds how many there are at once, threads included.
- User: an unused uid of its own where the caller is root, else the caller's, without any
  capability, unable to gain one. System calls that a test has no use for are refused.
- Memory, CPU time and file size per process, by resource limits; no core files. Its processes are
  the first to go where the machine runs out of memory.

What it is not:

- It is no virtual machine. The kernel is shared: an exploit of the kernel gets out, and timing and
  other side channels stay open.
- `memory_bytes` is per process: `processes` of them can each take as much, 16 GiB by default, and
  files in /tmp come on top of it. Under bubblewrap only time bounds how many empty files there are:
  1 GiB of the kernel's memory was seen to go in 10 s, and to come back.
- World-readable files below /usr/lib, /usr/bin and the interpreter's lib directory can be read,
  packages that were installed there among them.
- Checks believe what they ask of the solution. What its functions return arrives as plain data of
  exact types, and an object of its own is never equal to plain data by its own word; but checks
  that compare two of its objects, or call a helper of its, take its word for it.
- A set that the solution made may come in another order, and arguments that it changed are
  changed when its call returns.
- Checks that need the solution in their own process (`qgate.sandbox.one_process` has the rule, by
  what the checks say alone) run there, and `Outcome.in_one_process` says so. Leaving early,
  printing, killing and forking are no pass there either: the runner hands over a random word from a
  pipe that it reads after the last line. But a solution written against this very runner can look
  it up in the runner's frames, or return objects that equal everything. Such a pass says what an
  ordinary wrong answer cannot get, not what a forger cannot.
- Linux on x86_64 and aarch64 only; before Linux 5.14 an ordinary user's other processes count
  against `processes`, so that programs which start any may fail.

`find_isolation` tries all this out on the machine at hand and raises where it does not hold.
"""

from __future__ import annotations

from qgate.sandbox.isolation import Isolation
from qgate.sandbox.programs import Limits, Outcome, Program
from qgate.sandbox.runs import run_programs
from qgate.sandbox.self_test import find_isolation

__all__ = ["Isolation", "Limits", "Outcome", "Program", "find_isolation", "run_programs"]
