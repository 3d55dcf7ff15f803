"""Starts a child of a runtime, confined or not."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.confinement.seccomp import filter_for
from qgate.confinement.tools import filter_file
from qgate.confinement.view import without_steps_up
from qgate.runtimes.confined.child_view import Reach, environment_within, view_for
from qgate.untrusted.work_folder import WorkFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.confinement import Name, Tool

_TITLES: Mapping[Name, str] = MappingProxyType({"bwrap": "bubblewrap", "unshare": "unshare"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """How runtimes' children are confined; made by `decide`, which has tried it."""

    tool: Tool | None = None
    """None: they are not."""
    is_root: bool = False
    """Whether root's power makes the namespaces; else a user namespace."""
    why_not: str = ""
    """One line; empty where they are, and where nobody asked for it."""
    remedy: str = ""
    """What would change that, for messages."""

    def describe(self) -> dict[str, str | None]:
        """For the report."""
        return {"tool": self.tool.name if self.tool else None, "reason": self.why_not}

    def line(self) -> str:
        """For the header; empty where there is nothing to say."""
        if self.tool is not None:
            return f"runtime confined by {_TITLES[self.tool.name]}"
        return f"runtime not confined: {self.why_not}" if self.why_not else ""


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
    confinement: Confinement | None,
    reach: Reach,
) -> subprocess.Popen[bytes]:
    """A child in a session of its own, its three streams as pipes.

    Args:
        command: begins with its interpreter.
        environment: of a child that is not confined.
        directory: its own, empty.
        confinement: None: it is not confined.
        reach: what it gets if it is.

    Raises:
        OSError: it cannot be started.
    """
    with contextlib.ExitStack() as stack:
        files: tuple[int, ...] = ()
        if confinement is not None and confinement.tool is not None:
            view = view_for(command[0], environment, directory, reach, is_root=confinement.is_root)
            refused = filter_for(platform.machine(), is_one_program=False)
            files = (stack.enter_context(filter_file(refused)).fileno(),)
            program = str(without_steps_up(command[0]))
            command = [*confinement.tool.command(view, *files), program, *command[1:]]
            environment = environment_within(
                environment, directory, has_network=reach.needs_network
            )
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environment,
            start_new_session=True,
            pass_fds=files,
        )


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    confinement: Confinement | None,
    patience_s: float,
) -> tuple[bytes, bytes]:
    """What such a child that is asked nothing says to its end, and its standard error.

    Raises:
        OSError: it cannot be started, or there is no room for its directory.
        subprocess.TimeoutExpired: it took longer; it is gone.
    """
    with (
        WorkFolder("qgate-child-") as directory,
        start(command, environment, str(directory), confinement, Reach()) as process,
    ):
        try:
            return process.communicate(timeout=patience_s)
        except BaseException:  # an interrupt, too: the child's session hears of none
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
