"""A GPU's memory is counted in used bytes by UUID, and nobody else may be there.

No GPU was at hand: NVML is played by a stand-in that does what is written of it, process ids of the
host and missing values included.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from qgate.errors import MeasurementError
from qgate.measure.memory.nvml import DeviceMeter
from qgate.measure.memory.rows import measure_footprint
from tests.measure.memory.test_memory import child

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
UUIDS = (
    "GPU-11111111-aaaa-0000-0000-000000000000",
    "GPU-22222222-bbbb-0000-0000-000000000000",
)


class NVMLError(Exception):
    pass


@dataclass(kw_only=True)
class Machine:
    """GPUs as NVML tells of them."""

    used_bytes: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(UUIDS, GIB))
    processes: dict[str, list[Any]] = field(default_factory=dict)
    broken: str = ""
    """The function that fails."""

    def module(self) -> ModuleType:
        functions: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: len(self.used_bytes),
            "nvmlDeviceGetHandleByIndex": lambda number: list(self.used_bytes)[number],
            "nvmlDeviceGetUUID": lambda handle: handle,
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: self.processes.get(handle, []),
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=self.used_bytes[handle]),
        }
        module: Any = ModuleType("pynvml")
        module.NVMLError = NVMLError
        for name, function in functions.items():
            setattr(module, name, self._or_broken(name, function))
        return cast("ModuleType", module)

    def _or_broken(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if name == self.broken:
                raise NVMLError("Driver Not Loaded")
            return function(*arguments)

        return call


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setitem(sys.modules, "pynvml", found.module())
    return found


def test_the_peak_is_what_was_added_on_every_visible_device(machine: Machine) -> None:
    meter = DeviceMeter({})
    with meter.watch() as peak:
        machine.used_bytes[UUIDS[0]] = 3 * GIB
        machine.used_bytes[UUIDS[1]] = 2 * GIB

    assert meter.uuids == UUIDS
    assert peak.used_bytes - meter.before_bytes == 3 * GIB


def test_a_peak_that_has_gone_again_was_seen(machine: Machine) -> None:
    meter = DeviceMeter({})
    with meter.watch() as peak:
        machine.used_bytes[UUIDS[0]] = 9 * GIB
        for _ in range(500):
            if peak.used_bytes > 9 * GIB:
                break
            threading.Event().wait(0.01)
        machine.used_bytes[UUIDS[0]] = GIB

    assert peak.used_bytes == 10 * GIB


@pytest.mark.parametrize("named", [UUIDS[1], "GPU-2222", f" {UUIDS[1]} ,"])
def test_only_what_the_child_sees_is_counted(machine: Machine, named: str) -> None:
    machine.processes[UUIDS[0]] = [SimpleNamespace(pid=1, usedGpuMemory=None)]

    meter = DeviceMeter({"CUDA_VISIBLE_DEVICES": named})

    assert meter.uuids == (UUIDS[1],)
    assert meter.before_bytes == GIB


def test_the_only_device_may_be_called_by_number(machine: Machine) -> None:
    del machine.used_bytes[UUIDS[1]]

    assert DeviceMeter({"CUDA_VISIBLE_DEVICES": "0"}).uuids == (UUIDS[0],)


@pytest.mark.parametrize("named", ["0", "1", "0,1", "GPU-", "GPU-3", "MIG-1"])
def test_a_name_that_could_mean_another_device_is_refused(machine: Machine, named: str) -> None:
    with pytest.raises(MeasurementError, match=r"CUDA_VISIBLE_DEVICES: got .*; expected UUIDs"):
        DeviceMeter({"CUDA_VISIBLE_DEVICES": named})


@pytest.mark.parametrize("process", [SimpleNamespace(pid=4242, usedGpuMemory=None), None])
def test_somebody_else_on_the_device_voids_the_row(machine: Machine, process: Any) -> None:
    machine.processes[UUIDS[1]] = [process]

    with pytest.raises(MeasurementError, match=f"device {UUIDS[1]} is not free: got 1 processes"):
        DeviceMeter({})


@pytest.mark.parametrize(
    "function",
    [
        "nvmlInit",
        "nvmlDeviceGetCount",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetMemoryInfo",
    ],
)
def test_what_nvml_does_not_tell_is_one_line(machine: Machine, function: str) -> None:
    machine.broken = function

    with pytest.raises(MeasurementError, match=r"^memory\.peak: NVML: .*got Driver Not Loaded"):
        DeviceMeter({})


def test_a_device_that_fails_while_it_is_watched_is_heard_of(machine: Machine) -> None:
    meter = DeviceMeter({})

    with pytest.raises(MeasurementError, match="nvmlDeviceGetMemoryInfo"), meter.watch():
        machine.broken = "nvmlDeviceGetMemoryInfo"


def test_memory_that_is_not_available_is_not_zero(machine: Machine) -> None:
    machine.used_bytes[UUIDS[0]] = None

    with pytest.raises(MeasurementError, match="used memory: got None; expected bytes"):
        DeviceMeter({})


@pytest.mark.parametrize("visible", [None, ""])
def test_no_device_is_no_measurement(machine: Machine, visible: str | None) -> None:
    if visible is None:
        machine.used_bytes.clear()

    with pytest.raises(MeasurementError, match="got no visible device; expected a GPU"):
        DeviceMeter({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(MeasurementError, match="pip install nvidia-ml-py"):
        DeviceMeter({})


def test_a_footprint_on_a_gpu_is_what_the_device_saw(machine: Machine) -> None:
    host, planted = child()
    answer = planted.call

    def serve(verb: str, request: object) -> Any:
        if verb == "fill_context":
            machine.used_bytes[UUIDS[0]] = 5 * GIB
        return answer(verb, request)

    planted.call = serve  # type: ignore[method-assign]
    found = measure_footprint(host, 4096, DeviceMeter({}))

    assert found.device_peak_bytes == found.peak_bytes == 4 * GIB
