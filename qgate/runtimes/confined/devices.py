"""What a GPU is reached by: device nodes and the sockets of its daemons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NODES = (
    *("nvidia*", "dri", "kfd", "dxg"),  # NVIDIA, any that draws, AMD, any under WSL
    *("nvhost*", "nvmap", "accel", "habanalabs", "davinci*", "devmm_svm", "hisi_hdc"),
)
_SOCKETS = ("/run/nvidia-persistenced", "/run/nvidia-fabricmanager", "/tmp/nvidia-mps")  # noqa: S108
_PIPES = "CUDA_MPS_PIPE_DIRECTORY"
_DRIVERS = ("/proc/driver/nvidia", "/sys/module/nvidia", "/sys/module/amdgpu")


def nodes(devices: Path = Path("/dev")) -> list[str]:
    """Device nodes, and directories of them."""
    return sorted(str(path) for name in _NODES for path in devices.glob(name))


def sockets(environ: Mapping[str, str]) -> list[str]:
    """Directories in which drivers' daemons listen."""
    return [path for path in (*_SOCKETS, environ.get(_PIPES, "")) if path and Path(path).is_dir()]


def is_expected() -> bool:
    """Whether a child without bounds may see a GPU, its nodes perhaps made by the driver."""
    return bool(nodes()) or any(Path(path).exists() for path in _DRIVERS)
