"""Counters of the host and their text in the Prometheus exposition format 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from host import nvml
from host.device import gpus, memory

if TYPE_CHECKING:
    from host.fleet import Fleet, Slot
    from host.predictions import PredictionLog

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
USUAL_REFUSALS = (400, 404, 503)
"""Statuses whose count begins at 0, so that a reader sees the first refusal as a growth."""


@dataclass
class Counters:
    """One version's counts since the host started. Probes are requests that asked not to be logged."""

    requests: int = 0
    failures: int = 0
    probes: int = 0
    probe_failures: int = 0
    exceptions: Counter[str] = field(default_factory=Counter)
    """Failures by the name of the exception."""
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def count(self, seconds: float, *, failed: str, probe: bool) -> None:
        """Count one request answered after `seconds`, or `failed` by an exception of that name; only live requests
        enter the latency histogram."""
        if probe:
            self.probes += 1
            self.probe_failures += bool(failed)
            return
        self.requests += 1
        if failed:
            self.failures += 1
            self.exceptions[failed] += 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS, seconds)] += 1


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class _Text:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def family(self, name: str, kind: str, help_: str, samples: Iterable[tuple[dict[str, str], float]]) -> None:
        self.lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
        for labels, value in samples:
            self.sample(name, labels, value)

    def sample(self, name: str, labels: dict[str, str], value: float) -> None:
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        self.lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")


def _versions(text: _Text, fleet: Fleet) -> None:
    slots = [
        ({"model": model.name, "version": slot.version}, slot)
        for model in fleet.models.values()
        for slot in model.slots.values()
    ]

    def family(name: str, kind: str, help_: str, attribute: str) -> None:
        text.family(name, kind, help_, ((labels, getattr(slot.counters, attribute)) for labels, slot in slots))

    family("lastgood_host_requests_total", "counter", "Live inference requests answered or failed.", "requests")
    family("lastgood_host_failures_total", "counter", "Live inference requests that the version failed.", "failures")
    text.family(
        "lastgood_host_exceptions_total",
        "counter",
        "Failures by the exception that the version raised.",
        (({**labels, "kind": kind}, n) for labels, slot in slots for kind, n in slot.counters.exceptions.items()),
    )
    family("lastgood_host_probes_total", "counter", "Probes: requests that asked not to be logged.", "probes")
    family("lastgood_host_probe_failures_total", "counter", "Probes that the version failed.", "probe_failures")
    gauges: tuple[tuple[str, str, Callable[[Slot], float]], ...] = (
        ("lastgood_host_in_flight", "Requests being answered.", lambda slot: slot.in_flight),
        ("lastgood_host_ready", "1 when the version is loaded and answers.", lambda slot: int(slot.state == "ready")),
        ("lastgood_host_loaded_bytes", "Bytes of tensors in memory.", lambda s: s.loaded.bytes if s.loaded else 0),
    )
    for name, help_, read in gauges:
        text.family(name, "gauge", help_, [(labels, read(slot)) for labels, slot in slots])
    name = "lastgood_host_request_duration_seconds"
    text.family(name, "histogram", "From a live request's last byte to its answer.", ())
    for labels, slot in slots:
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), slot.counters.buckets, strict=True):
            total += count
            text.sample(f"{name}_bucket", {**labels, "le": bound}, total)
        text.sample(f"{name}_sum", labels, slot.counters.seconds)
        text.sample(f"{name}_count", labels, total)


def _gpus(text: _Text) -> None:
    """What NVML tells; without it, what torch knows of the GPUs that this process may use."""
    told = [({"gpu": str(one.index), "gpu_uuid": one.uuid, "name": one.name}, one.figures) for one in nvml.gpus()]
    if not told:
        told = [({"gpu": str(one["index"]), "name": one["name"]}, _of_torch(one)) for one in gpus()]
    for name, (kind, help_) in nvml.FIGURES.items():
        samples = [(labels, figures[name]) for labels, figures in told if name in figures]
        if samples:
            text.family(f"lastgood_host_gpu_{name}", kind, help_, samples)


def _of_torch(gpu: dict[str, Any]) -> dict[str, float]:
    return {"memory_free_bytes": gpu["memory_free"], "memory_total_bytes": gpu["memory_total"]}


def render(fleet: Fleet, predictions: PredictionLog, refused: Mapping[tuple[str, int], int]) -> str:
    """All metrics as Prometheus text; `refused` are requests for inference by model and status."""
    text = _Text()
    models = [({"model": model.name}, model) for model in fleet.models.values()]
    text.family("lastgood_host_up", "gauge", "1 when every default can answer.", [({}, int(fleet.ready))])
    text.family(
        "lastgood_host_fence", "gauge", "Highest fence seen.", [(labels, m.pointer.fence) for labels, m in models]
    )
    text.family(
        "lastgood_host_default_info",
        "gauge",
        "1 for the version that answers requests that name none.",
        [({**labels, **m.pointer.default.to_json()}, 1) for labels, m in models if m.pointer.default],
    )
    _versions(text, fleet)
    told = {(model, status): 0 for model in fleet.models for status in USUAL_REFUSALS} | dict(refused)
    text.family(
        "lastgood_host_refused_total",
        "counter",
        "Requests for inference that were refused, by status.",
        (({"model": model, "status": str(status)}, n) for (model, status), n in told.items()),
    )
    for key, size in memory(fleet.device).items():
        text.family(f"lastgood_host_memory_{key}_bytes", "gauge", f"Memory for models, {key}.", [({}, size)])
    _gpus(text)
    for key, (kind, help_, value) in predictions.figures().items():
        text.family(f"lastgood_host_prediction_log_{key}", kind, help_, [({}, value)])
    return "\n".join(text.lines) + "\n"
