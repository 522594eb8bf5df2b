"""What NVIDIA's management library says of the machine's GPUs; where there is none, nothing, and no figure is 0."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """One GPU: its index and UUID in NVML, its name, and those of its figures that it has, by name (FIGURES)."""

    index: int
    uuid: str
    name: str
    figures: dict[str, float]


FIGURES: dict[str, tuple[str, str]] = {
    "utilisation_ratio": ("gauge", "Share of the last sampling period in which a kernel ran, 0 to 1."),
    "memory_used_bytes": ("gauge", "Used memory of a GPU."),
    "memory_free_bytes": ("gauge", "Free memory of a GPU."),
    "memory_total_bytes": ("gauge", "Memory of a GPU."),
    "temperature_celsius": ("gauge", "Temperature of a GPU."),
    "power_watts": ("gauge", "Power that a GPU draws."),
    "ecc_corrected_total": ("counter", "Memory errors of one bit since the driver was loaded."),
    "ecc_uncorrected_total": ("counter", "Memory errors of more bits since the driver was loaded."),
    "xid": ("gauge", "The newest critical XID error since this host started; 0 for none."),
}
"""Each figure's kind and meaning, as the exposition format wants them."""


@dataclass
class Nvml:
    """NVML, started: `library` is the module pynvml. XID errors come as events and are kept by UUID."""

    library: Any
    handles: list[tuple[str, str, Any]]
    events: Any = None
    xids: dict[str, int] = field(default_factory=dict)

    def read(self) -> list[Gpu]:
        """Every GPU with what it tells now; what it does not support is left out."""
        self._take_events()
        return [
            Gpu(index, uuid, name, dict(self._figures(uuid, handle)))
            for index, (uuid, name, handle) in enumerate(self.handles)
        ]

    def _figures(self, uuid: str, handle: Any) -> list[tuple[str, float]]:
        nvml = self.library
        volatile = nvml.NVML_VOLATILE_ECC
        memory = self._told(nvml.nvmlDeviceGetMemoryInfo, handle)
        use = self._told(nvml.nvmlDeviceGetUtilizationRates, handle)
        power = self._told(nvml.nvmlDeviceGetPowerUsage, handle)
        found = {
            "utilisation_ratio": None if use is None else use.gpu / 100,
            "memory_used_bytes": None if memory is None else memory.used,
            "memory_free_bytes": None if memory is None else memory.free,
            "memory_total_bytes": None if memory is None else memory.total,
            "temperature_celsius": self._told(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            "power_watts": None if power is None else power / 1000,
            "ecc_corrected_total": self._told(
                nvml.nvmlDeviceGetTotalEccErrors, handle, nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, volatile
            ),
            "ecc_uncorrected_total": self._told(
                nvml.nvmlDeviceGetTotalEccErrors, handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, volatile
            ),
            "xid": self.xids.get(uuid),
        }
        return [(name, float(value)) for name, value in found.items() if value is not None]

    def _told(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except self.library.NVMLError:
            return None

    def listen(self) -> None:
        """Have critical XID errors of each GPU told; a GPU that can't tell them has no figure of them."""
        nvml = self.library
        try:
            self.events = nvml.nvmlEventSetCreate()
        except nvml.NVMLError as error:
            log.info("XID errors are not told: %s", error)
            return
        for uuid, _, handle in self.handles:
            try:
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self.events)
            except nvml.NVMLError as error:
                log.info("XID errors of %s are not told: %s", uuid, error)
            else:
                self.xids[uuid] = 0

    def _take_events(self) -> None:
        """Those that have come, without waiting for more."""
        nvml = self.library
        while self.events is not None:
            try:
                event = nvml.nvmlEventSetWait_v2(self.events, 0)
                self.xids[_text(nvml.nvmlDeviceGetUUID(event.device))] = int(event.eventData)
            except nvml.NVMLError:
                # Mostly that there is none; a GPU that is lost can't be told apart by its UUID either.
                return


@cache
def started() -> Nvml | None:
    """NVML, started once in this process; None without the package, the library, a driver, or a GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        known = [(_text(pynvml.nvmlDeviceGetUUID(one)), _text(pynvml.nvmlDeviceGetName(one)), one) for one in handles]
    except pynvml.NVMLError as error:
        log.info("No figures of GPUs: %s", error)
        return None
    if not known:
        return None
    found = Nvml(pynvml, known)
    found.listen()
    return found


def gpus() -> list[Gpu]:
    """Every GPU that NVML knows, with its figures; empty where there is no NVML."""
    nvml = started()
    return nvml.read() if nvml is not None else []


def _text(value: str | bytes) -> str:
    """pynvml gives bytes or text, by its age."""
    return value.decode() if isinstance(value, bytes) else value
