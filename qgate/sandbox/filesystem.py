"""Runs inside fresh namespaces of `unshare`: builds the file system that a program may see.

This file is handed to the interpreter as text; it may import the standard library only. It then
stays as the first process of the PID namespace, which takes all others along when it ends.

The flags are those of mount(2), prctl(2), netdevice(7) and statvfs(3).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

_READ_ONLY, _NO_SETUID, _NO_DEVICES = 1, 2, 4
_REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 32, 4096, 16384, 1 << 18
_KEPT = 2 | 4 | 8 | 1024 | 2048
"""Flags with one value in statvfs and mount: nosuid, nodev, noexec, noatime, nodiratime."""
_RELATIVE_TIMES = (4096, 1 << 21)
"""relatime in statvfs and in mount."""
_DETACH, _DROP_FROM_BOUNDS, _SET_INTERFACE = 2, 24, 0x8914
"""MNT_DETACH, PR_CAPBSET_DROP, SIOCSIFFLAGS."""
_ESCAPED = re.compile(r"\\([0-7]{3})")
"""A blank or backslash in mountinfo."""
_OLD = "/.outside"
_STAGE = "/tmp"  # noqa: S108 - any directory that is always there; covered, never written to


def main(view: dict[str, Any], command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _enter_empty_root(libc)
    _fill(libc, view)
    _check(libc.umount2(_OLD.encode(), _DETACH), _OLD)
    Path(_OLD).rmdir()
    _mount(libc, "", "/", _REMOUNT | _READ_ONLY | _NO_SETUID | _NO_DEVICES)
    _bring_up_loopback()
    socket.sethostname(view["host"])
    signal.signal(signal.SIGALRM, lambda *_: os._exit(124))
    signal.alarm(view["longest_s"])
    program = os.fork()
    if not program:
        _start(libc, view, command)
    ended, status = os.wait()
    while ended != program:
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _bring_up_loopback() -> None:
    """As bubblewrap does: a program may test a server of its own."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_INTERFACE, struct.pack("16sh14x", b"lo", 1))


def _enter_empty_root(libc: ctypes.CDLL) -> None:
    _mount(libc, "", "/", _RECURSIVE | _PRIVATE)
    _mount_memory(libc, _STAGE, "size=1m,nr_inodes=4096,mode=755")
    outside = _STAGE + _OLD
    Path(outside).mkdir()
    _check(libc.pivot_root(_STAGE.encode(), outside.encode()), "pivot_root")
    os.chdir("/")


def _fill(libc: ctypes.CDLL, view: dict[str, Any]) -> None:
    for path in view["read_only"]:
        _bind(libc, path)
        for below in _mounts_below(path):
            _make_read_only(libc, below)
    for path in view["devices"]:
        _bind(libc, path)
    for path, target in view["links"].items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).symlink_to(target)
    Path(view["directory"]).mkdir(parents=True, exist_ok=True)
    size = f"size={view['directory_bytes']},nr_inodes=4096,mode=1777"
    _mount_memory(libc, view["directory"], size)
    os.chdir(view["directory"])


def _bind(libc: ctypes.CDLL, path: str) -> None:
    source, place = Path(_OLD + path), Path(path)
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(libc, str(source), path, _BIND | _RECURSIVE)


def _mounts_below(path: str) -> list[str]:
    """The mount at a path and those inside it."""
    lines = Path(_OLD, "proc/self/mountinfo").read_text().splitlines()
    points = [_ESCAPED.sub(lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines]
    return [point for point in points if point == path or point.startswith(path + "/")]


def _make_read_only(libc: ctypes.CDLL, path: str) -> None:
    """Flags that are there must be repeated: a user namespace may not take them off."""
    found = os.statvfs(path).f_flag
    relative = _RELATIVE_TIMES[1] if found & _RELATIVE_TIMES[0] else 0
    flags = _REMOUNT | _BIND | _READ_ONLY | _NO_SETUID | _NO_DEVICES | relative
    _mount(libc, "", path, flags | (found & _KEPT))


def _start(libc: ctypes.CDLL, view: dict[str, Any], command: list[str]) -> None:
    """Become the program's runner, with no more capabilities than it may give up itself."""
    number = 0
    while number in view["capabilities"] or libc.prctl(_DROP_FROM_BOUNDS, number, 0, 0, 0) == 0:
        number += 1  # up to the first that this kernel does not know
    os.execv(command[0], command)  # noqa: S606


def _mount_memory(libc: ctypes.CDLL, path: str, options: str) -> None:
    flags = _NO_SETUID | _NO_DEVICES
    _check(libc.mount(b"tmpfs", path.encode(), b"tmpfs", flags, options.encode()), path)


def _mount(libc: ctypes.CDLL, source: str, path: str, flags: int) -> None:
    where = path.encode(errors="surrogateescape")
    _check(libc.mount(source.encode(errors="surrogateescape"), where, None, flags, None), path)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
