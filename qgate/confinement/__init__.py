"""Starts a process that sees and may use only what a `View` names.

bubblewrap where it is installed, else util-linux's `unshare` with `qgate.confinement.filesystem`.
The programs that a model wrote (`qgate.sandbox`) and the children that load models
(`qgate.runtimes.confined`) are started so; what each of them sees is theirs to say.

What holds such a process, as far as its view says no other:

- Files: a root of its own in memory, with the places of the view under their own names, read-only
  but for those that it writes to; no set-user-ID programs, no device nodes but those of the view.
- Processes: a PID namespace. Nobody outside can be named, signalled, traced or looked into by
  /proc, and when its first process ends, all others end. It ends with its caller, too.
- Network: a namespace with a loopback of its own, where abstract Unix sockets live, too.
- Shared memory, host name: namespaces of their own.
- Power: no capability, and no way to gain one; system calls that only a guest has a use for are
  refused (`qgate.confinement.seccomp`).

What it is not: a virtual machine. The kernel is shared, and so are its faults.
"""

from __future__ import annotations

from qgate.confinement.tools import NAMES, Name, Tool
from qgate.confinement.view import View

__all__ = ["NAMES", "Name", "Tool", "View"]
