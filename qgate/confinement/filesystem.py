"""Runs inside fresh namespaces of `unshare`: builds the file system of a view.

This file is handed to the interpreter as text; it may import the standard library only. It then
stays as the first process of the PID namespace, which takes all others along when it ends.

The flags are those of mount(2), prctl(2), netdevice(7) and statvfs(3); what is shown is a
`qgate.confinement.view.View`.
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

_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_PROGRAMS = 1, 2, 4, 8
_REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 32, 4096, 16384, 1 << 18
_KEPT = 2 | 4 | 8 | 1024 | 2048
"""Flags with one value in statvfs and mount: nosuid, nodev, noexec, noatime, nodiratime."""
_RELATIVE_TIMES = (4096, 1 << 21)
"""relatime in statvfs and in mount."""
_DETACH, _DROP_FROM_BOUNDS, _SET_INTERFACE = 2, 24, 0x8914
"""MNT_DETACH, PR_CAPBSET_DROP, SIOCSIFFLAGS."""
_SET_DUMPABLE, _NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 4, 38, 22, 2
"""PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER."""
_ESCAPED = re.compile(r"\\([0-7]{3})")
"""A blank or backslash in mountinfo."""
_OLD = "/.outside"
_STAGE = "/tmp"  # noqa: S108 - any directory that is always there; covered, never written to


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def main(view: dict[str, Any], command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(view["filter_file"], "rb") as stream:  # noqa: PTH123 - a descriptor
        refused = stream.read()
    _enter_empty_root(libc)
    _fill(libc, view)
    _check(libc.umount2(_OLD.encode(), _DETACH), _OLD)
    Path(_OLD).rmdir()
    _mount(libc, "", "/", _REMOUNT | _READ_ONLY | _NO_SETUID | _NO_DEVICES)
    os.chdir(view["directory"])
    if not view["has_network"]:
        _bring_up_loopback()
    socket.sethostname(view["host"])
    libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    program = os.fork()
    if not program:
        _start(libc, view, refused, command)
    if view["longest_s"] is not None:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(124))
        signal.alarm(view["longest_s"])
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
    for kind, path, target, size in view["places"]:
        if kind == "link":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).symlink_to(target)
        elif kind == "memory":
            Path(path).mkdir(parents=True, exist_ok=True)
            bound = "" if size is None else f"size={size},nr_inodes=4096,"
            _mount_memory(libc, path, f"{bound}mode=1777")
        elif kind == "proc":
            _show_processes(libc, path, view["settings"])
        else:
            _bind(libc, path)
            for below in _mounts_below(path) if kind == "read-only" else ():
                _make_read_only(libc, below)


def _show_processes(libc: ctypes.CDLL, path: str, settings: list[str]) -> None:
    """Of the new PID namespace alone; what belongs to the kernel can be read, not written."""
    Path(path).mkdir()
    flags = _NO_SETUID | _NO_DEVICES | _NO_PROGRAMS
    _check(libc.mount(b"proc", path.encode(), b"proc", flags, None), path)
    for setting in settings:
        _mount(libc, setting, setting, _BIND)
        _make_read_only(libc, setting)


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


def _start(libc: ctypes.CDLL, view: dict[str, Any], refused: bytes, command: list[str]) -> None:
    """Become the command, with no more capabilities than the view lets it keep."""
    number = 0
    while number in view["capabilities"] or libc.prctl(_DROP_FROM_BOUNDS, number, 0, 0, 0) == 0:
        number += 1  # up to the first that this kernel does not know
    _refuse(libc, refused)
    os.execv(command[0], command)  # noqa: S606


def _refuse(libc: ctypes.CDLL, code: bytes) -> None:
    """Install the filter of system calls; nothing that is started later gets rid of it."""
    program = _Filter(len(code) // 8, code)
    _check(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
    _check(libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0), "prctl")


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
