"""How much of the GPUs' memory is in use, by NVML: what serving adds, and whether others are there.

    taken = used at its most while serving - used before the child started

Processes share a GPU without a word in the library's account, and inside a container NVML names the
host's process ids or none at all, so that nobody can be told apart by id. Hence: whatever runs on
a device before the child starts is foreign and voids the row, an earlier child that has not ended
included; afterwards bytes are compared, not ids. Devices are named by UUID, as NVML and CUDA number
them differently. The number holds the CUDA context too (some 0.3 to 0.5 GiB), which no library's
account has; optimum-benchmark's "global VRAM" is used bytes likewise.

Not yet run on a GPU: written after nvidia-ml-py 13 and tested with a stand-in for it.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOK_S = 0.01
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(slots=True, kw_only=True)
class Peak:
    """What was seen so far, of all devices together."""

    used_bytes: int


class DeviceMeter:
    """Opened before the child starts, on the devices that the child will see.

    Args:
        environ: of the child; `CUDA_VISIBLE_DEVICES` picks devices.

    Raises:
        MeasurementError: no NVML, no device, or somebody else is on one.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._nvml = _load()
        self._handles = self._find(environ.get(_VISIBLE))
        for uuid, handle in self._handles.items():
            running = self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
            if running:
                raise _problem(
                    f"device {uuid} is not free: got {len(running)} processes on it; expected none."
                    " Gate on a device of your own"
                )
        self.before_bytes = self.used_bytes()
        """Used before the child starts, of all devices together."""

    @property
    def uuids(self) -> tuple[str, ...]:
        return tuple(self._handles)

    def used_bytes(self) -> int:
        """Used now, of all devices together, by whomever."""
        total = 0
        for uuid, handle in self._handles.items():
            used = self._ask("nvmlDeviceGetMemoryInfo", handle).used
            if not isinstance(used, int):
                raise _problem(f"device {uuid}: used memory: got {used}; expected bytes")
            total += used
        return total

    @contextlib.contextmanager
    def watch(self) -> Iterator[Peak]:
        """Look on while the block runs; a peak shorter than some 10 ms may be missed."""
        peak, stop = Peak(used_bytes=self.used_bytes()), threading.Event()

        def look() -> None:
            # what fails here fails again at the end, where somebody hears of it
            with contextlib.suppress(MeasurementError):
                while not stop.wait(_LOOK_S):
                    peak.used_bytes = max(peak.used_bytes, self.used_bytes())

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield peak
        finally:
            stop.set()
            thread.join()
        peak.used_bytes = max(peak.used_bytes, self.used_bytes())

    def _find(self, visible: str | None) -> dict[str, Any]:
        """Handles by UUID."""
        count = self._ask("nvmlDeviceGetCount")
        handles = [self._ask("nvmlDeviceGetHandleByIndex", number) for number in range(count)]
        found = {str(self._ask("nvmlDeviceGetUUID", handle)): handle for handle in handles}
        if visible is not None and not (count == 1 and visible.strip() == "0"):
            names = [name.strip() for name in visible.split(",") if name.strip()]
            found = {uuid: found[uuid] for uuid in (_whole_uuid(name, found) for name in names)}
        if not found:
            raise _problem("got no visible device; expected a GPU")
        return found

    def _ask(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 - NVML has no types
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError as error:
            raise _problem(f"{function}: got {error}; expected an answer") from error


def _load() -> Any:  # noqa: ANN401 - a module without types
    try:
        import pynvml
    except ImportError as error:
        raise _problem(
            "nvidia-ml-py is not installed. Install it with: pip install nvidia-ml-py"
        ) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise _problem(f"no NVIDIA driver answers: got {error}; expected a GPU machine") from error
    return pynvml


def _whole_uuid(name: str, uuids: Mapping[str, Any]) -> str:
    """As CUDA does, a beginning that only one device has will do."""
    matching = [uuid for uuid in uuids if uuid.startswith(name)]
    if len(matching) != 1 or name.isdigit():
        raise _problem(
            f"{_VISIBLE}: got {name!r}; expected UUIDs as in nvidia-smi -L: CUDA and NVML number"
            " devices differently"
        )
    return matching[0]


def _problem(what: str) -> MeasurementError:
    return MeasurementError(f"memory.peak: NVML: {what}")
