"""What the child of a runtime sees, and the environment that fits it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import qgate
from qgate.confinement import View
from qgate.confinement.view import DEVICES, reach, trace
from qgate.runtimes.confined import devices, interpreters, libraries
from qgate.runtimes.environment import passed_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"),
    *("/opt/rocm", "/opt/amdgpu", "/opt/intel", "/opt/nvidia", "/run/opengl-driver"),
    # of /etc what libraries read; nothing with a password or a key in it
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts", "/etc/host.conf"),
    *("/etc/services", "/etc/protocols", "/etc/localtime", "/etc/timezone", "/etc/os-release"),
    *("/etc/OpenCL", "/etc/vulkan", "/etc/glvnd", "/etc/nccl.conf", "/etc/mime.types"),
    # of /sys what is about hardware
    *("/sys/bus", "/sys/class", "/sys/dev", "/sys/devices", "/sys/module", "/sys/fs/cgroup"),
    "/sys/kernel/mm",
)
_NETWORK = (
    *("/etc/resolv.conf", "/etc/gai.conf", "/etc/ssl/certs", "/etc/ssl/cert.pem"),
    *("/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust", "/etc/ca-certificates"),
    *("/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies"),
)
_LINKS: Mapping[str, str] = MappingProxyType(
    {
        "/dev/fd": "/proc/self/fd",
        "/dev/stdin": "/proc/self/fd/0",
        "/dev/stdout": "/proc/self/fd/1",
        "/dev/stderr": "/proc/self/fd/2",
    }
)
_TEMPORARY = "/tmp"  # noqa: S108 - the child's own
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the child's own
_REPOSITORY = ".git"
"""Of a package that is installed as a link to its source: CI leaves a token in there."""
_NEVER = frozenset(
    ("/", "/dev", "/etc", "/home", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp", "/var")  # noqa: S108
)
"""Never shown as a whole, whoever names them."""
_OF_THE_USER = re.compile(
    r"(HOME|SHELL|PATH|TMPDIR|TMP|TEMP|XDG_.*|HF_HOME|TORCH_HOME|TRITON_HOME|PYTHONUSERBASE"
    r"|QGATE_STORE|.*_CACHE(_DIR|_PATH|_ROOT)?|.*_CONFIG_ROOT|.*_RPC_BASE_PATH|PYTHONPYCACHEPREFIX"
    r"|.*_WORKSPACE_BASE|.*_EXTENSIONS_DIR|.*_DUMP_DIR)"
)
"""Names of places that are the user's own or written to; a child has its folder for that."""
_OF_THE_NETWORK = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "VLLM_HOST_IP")
"""Names of what a child with a loopback alone does not have; PyTorch and vLLM would insist."""
_COMMANDS = ("CC", "CXX")
_LISTS = re.compile(r"[\s:]+")
"""What stands between the libraries of LD_PRELOAD."""
_READ_FILES = 2
"""CAP_DAC_READ_SEARCH: root reads files of others outside, and has to be able to in here."""
CAPABILITIES = 1 << _READ_FILES
"""All that a child of root's has, as a mask."""
_GOES_FIRST = 800
"""Before pytest and whatever else runs here, after the programs of a model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What one child gets besides what every child needs."""

    reads: tuple[Path, ...] = ()
    """Models and the store: absolute, links to other places included."""
    writes: tuple[Path, ...] = ()
    """Folders, besides its own."""
    needs_network: bool = False
    """Whether it has the machine's network."""


def view_for(
    python: str, environment: Mapping[str, str], directory: str, extra: Reach, *, is_root: bool
) -> View:
    """The view of one child.

    Args:
        python: its interpreter.
        environment: of the child; what it names is shown.
        directory: its own folder.
        extra: what this child reads and writes besides.
        is_root: whether root's power makes the namespaces.
    """
    named = [path for _, path in _named(environment)]
    wanted: list[str | Path] = [
        *_SYSTEM,
        *(_NETWORK if extra.needs_network else ()),
        Path(qgate.__file__).parent,
    ]
    wanted += [*interpreters.places_of(python, environment), *named]
    wanted += [*libraries.library_places(), *libraries.program_places(environment)]
    wanted += devices.sockets(environment)
    wanted = [path for path in wanted if not _is_too_wide(str(path))]
    links, shown = reach([*wanted, *extra.reads])
    to_own, own = reach([directory, *extra.writes])
    to_temporary, temporary = trace(_TEMPORARY)
    links |= {at: to for at, to in to_own.items() if not _is_below(at, shown)}
    covered = [f"{path}/{_REPOSITORY}" for path in shown]
    return View(
        read_only=shown,
        writable=own,
        devices=(*DEVICES, *devices.nodes()),
        links={**links, **to_temporary, **_LINKS},
        memory=dict.fromkeys([temporary, _SHARED_MEMORY, *filter(os.path.isdir, covered)]),
        directory=directory,
        has_proc=True,
        has_network=extra.needs_network,
        is_root=is_root,
        capabilities=(_READ_FILES,) if is_root else (),
        goes_first=_GOES_FIRST,
    )


def environment_within(
    environment: Mapping[str, str], directory: str, *, has_network: bool = False
) -> dict[str, str]:
    """The child's environment, its places for writing moved into its folder."""
    kept = {*(name for name, _ in _named(environment)), *passed_names(environment)}
    gone = () if has_network else _OF_THE_NETWORK

    def stays(name: str, value: str) -> bool:
        if _OF_THE_USER.fullmatch(name):
            return name in ("PATH", "SHELL")
        return name in kept or not (value.startswith("/") or name in gone)

    within = {name: value for name, value in environment.items() if stays(name, value)}
    base = str(interpreters.user_base(environment))
    return {**within, "HOME": directory, "TMPDIR": directory, "PYTHONUSERBASE": base}


def _named(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """The places that variables name, lists of them included."""
    for name, value in environment.items():
        if _OF_THE_USER.fullmatch(name):
            continue
        for part in _parts(name, value):
            if part.startswith("/") and not _is_too_wide(part) and _is_there(part):
                yield name, Path(part)
                if name in _COMMANDS:
                    yield from ((name, place) for place in libraries.installation_of(Path(part)))


def _parts(name: str, value: str) -> list[str]:
    """What a variable lists; of a command its program."""
    if name in _COMMANDS:
        return value.split()[:1]
    return _LISTS.split(value) if name == "LD_PRELOAD" else value.split(":")


def _is_too_wide(path: str) -> bool:
    """Whether a place is a whole part of the machine, or somebody's home."""
    end, home = os.path.realpath(path), os.path.realpath(os.path.expanduser("~"))  # noqa: PTH111
    return end in _NEVER or Path(home).is_relative_to(end)


def _is_there(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - False, too, where nobody may look


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(place) for place in places)
