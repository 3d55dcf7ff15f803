"""Runs in a child, confined or not: says what it sees of the machine's devices.

This file is handed to the interpreter as text; it may import the standard library only. Libraries
of drivers are asked as they are by runtimes: CUDA's, and NVML.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_GPUS = Path("/proc/driver/nvidia/gpus")
_CUDA = ("libcuda.so.1", "cuInit", "cuDeviceGetCount")
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
_NVML = ("libnvidia-ml.so.1", "nvmlInit_v2", "nvmlDeviceGetCount_v2")


def look(nodes: list[str], package: str) -> dict[str, Any]:
    """What is compared between a confined child and a free one."""
    return {
        "CUDA's devices": _count(_CUDA, [ctypes.c_uint(0)]),
        "NVML's devices": _count(_NVML, []),
        "the driver's devices": sorted(os.listdir(_GPUS)) if _GPUS.is_dir() else [],  # noqa: PTH208
        "device nodes": {path: _opens(path) for path in nodes},
        "its package": not package or _is_found(package),
    }


def bounds() -> dict[str, Any]:
    """How this process is confined, by its kernel's word."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: fields[name].strip() for name in ("CapPrm", "NoNewPrivs", "Seccomp")}


def _opens(path: str) -> str:
    """Empty where it can be opened, or is a directory."""
    try:
        if not Path(path).is_dir():
            os.close(os.open(path, os.O_RDWR))
        else:
            return " ".join(sorted(os.listdir(path)))  # noqa: PTH208
    except OSError as error:
        return os.strerror(error.errno or 0)
    return ""


def _count(names: tuple[str, str, str], arguments: list[Any]) -> int | None:
    """None where there is no such library, or no driver."""
    library, begin, count = names
    with contextlib.suppress(OSError, AttributeError):
        loaded = ctypes.CDLL(library)
        number = ctypes.c_int(0)
        failed = getattr(loaded, begin)(*arguments) or getattr(loaded, count)(ctypes.byref(number))
        return None if failed else number.value
    return None


def _is_found(package: str) -> bool:
    with contextlib.suppress(ImportError, ValueError):
        return find_spec(package) is not None
    return False


if __name__ == "__main__":
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    _told = json.loads(sys.argv[1])
    _seen = {"sees": look(**_told), **bounds(), "pid": os.getpid()}
    sys.stdout.write(json.dumps(_seen))
