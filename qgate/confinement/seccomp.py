"""The filter of system calls that a guest gets: a few refusals, everything else allowed.

Refused is what a guest has no use for and what namespaces do not hold: namespaces within (and the
kernel code behind them), other processes' memory, kernel keys, io_uring, BPF, shared memory that
outlives its process unseen by limits, and sockets that no network namespace confines (vsock to the
machine's host). A list of what is allowed would be stronger, and break with the next libc.

Numbers: Linux' asm/unistd_64.h and asm-generic/unistd.h. Instructions: linux/bpf_common.h.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data."""
_KILL, _ERROR, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NEW_NAMESPACES = 0x7E020000
"""The CLONE_NEW* flags of clone(2)."""
_OTHER_NUMBERS = 0x40000000
"""From here on: the x32 numbers, a second door to the same calls."""
_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6."""
_INTERFACES = 16
"""AF_NETLINK, by which a process finds the addresses of its own network namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    audit: int
    """AUDIT_ARCH_*."""
    clone: int
    clone3: int
    socket: int
    refused: tuple[int, ...]
    between: tuple[int, ...]
    """Refused to those that have nobody to share with: shared memory, semaphores and queues, other
    processes' memory and descriptors. Namespaces keep all of it within."""


# mount umount2 pivot_root chroot move_mount fsopen fsconfig fsmount fspick open_tree mount_setattr
# unshare setns ptrace kcmp
# keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_{setup,enter,register}
# open_by_handle_at name_to_handle_at kexec_load init_module finit_module syslog
# between: shmget shmat semget msgget mq_open process_vm_readv process_vm_writev pidfd_getfd
_NEWER = (428, 429, 430, 431, 432, 433, 442, 425, 426, 427)
_X86_64 = _Machine(
    audit=0xC000003E,
    clone=56,
    clone3=435,
    socket=41,
    refused=(
        *(165, 166, 155, 161, 272, 308, 101, 312, 250, 248, 249, 321, 298, 323),
        *(304, 303, 246, 175, 313, 103, 154),  # the last: modify_ldt
        *_NEWER,
    ),
    between=(29, 30, 64, 68, 240, 310, 311, 438),
)
_AARCH64 = _Machine(
    audit=0xC00000B7,
    clone=220,
    clone3=435,
    socket=198,
    refused=(
        *(40, 39, 41, 51, 97, 268, 117, 272, 219, 217, 218, 280, 241, 282),
        *(265, 264, 104, 105, 273, 116),
        *_NEWER,
    ),
    between=(194, 196, 190, 186, 180, 270, 271, 438),
)
MACHINES = ("x86_64", "aarch64")


def filter_for(machine: str, *, is_one_program: bool = True) -> bytes:
    """The filter as instructions of 8 bytes.

    Args:
        machine: one of MACHINES.
        is_one_program: whether it has nobody to share memory with; a runtime has engine processes.
    """
    known = {"x86_64": _X86_64, "aarch64": _AARCH64}[machine]
    code = [
        *_unless(_EQUAL, known.audit, _KILL),
        _step(_LOAD, _NUMBER),
        *_refused_where(_AT_LEAST, _OTHER_NUMBERS, errno.ENOSYS),
        *_refused_where(_EQUAL, known.clone3, errno.ENOSYS),  # its flags lie beyond a filter's eyes
    ]
    for number in (*known.refused, *(known.between if is_one_program else ())):
        code += _refused_where(_EQUAL, number, errno.EPERM)
    code += _only_for(known.clone, _refused_where(_ANY_BIT, _NEW_NAMESPACES, errno.EPERM))
    allowed = _FAMILIES if is_one_program else (*_FAMILIES, _INTERFACES)
    families = [step for family in allowed for step in _where(_EQUAL, family, _ALLOW)]
    code += _only_for(known.socket, [*families, _step(_RETURN, _ERROR | errno.EAFNOSUPPORT)])
    code.append(_step(_RETURN, _ALLOW))
    return _step(_LOAD, _MACHINE) + b"".join(code)


def _only_for(number: int, steps: list[bytes]) -> list[bytes]:
    """Steps over a call's first argument, then the end: what they let through is allowed."""
    body = [_step(_LOAD, _FIRST_ARGUMENT), *steps, _step(_RETURN, _ALLOW)]
    return [_step(_EQUAL, number, 0, len(body)), *body]


def _refused_where(test: int, value: int, error: int) -> list[bytes]:
    return _where(test, value, _ERROR | error)


def _where(test: int, value: int, result: int) -> list[bytes]:
    return [_step(test, value, 0, 1), _step(_RETURN, result)]


def _unless(test: int, value: int, result: int) -> list[bytes]:
    return [_step(test, value, 1, 0), _step(_RETURN, result)]


def _step(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    """One struct sock_filter."""
    return struct.pack("=HBBI", code, if_so, if_not, value)
