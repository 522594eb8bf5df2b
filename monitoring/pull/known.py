"""What exporters call their figures, and what the same is called here.

The names are those of each program's own manual: Triton "Metrics", TorchServe "Metrics API", MLServer "Metrics", vLLM
"Production Metrics", NVIDIA DCGM exporter's default counters, Prometheus' node exporter; and host/metrics.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from monitoring.pull.models import Exporter

MIB = 2.0**20


class How(Enum):
    """What becomes of a figure."""

    VALUE = "as it stands"
    RATE = "a counter: how much a second came since the reading before"
    GROWTH = "a counter: how much came since the reading before"
    MEAN = "a counter of time: how much of it one request took since the reading before"
    IDLE = "a counter of idle seconds of each core: the share of time that was not idle"
    BUCKETS = "a histogram: its quantiles since the reading before"


@dataclass(frozen=True)
class Known:
    """A figure of an exporter under its name here. Values are multiplied by `scale`; of its labels, `labels` are kept,
    and of what is alike in them the values are added up, or the largest counts where a sum means nothing (LARGEST);
    `fixed` says what its name alone tells; `per` is the counter that MEAN divides by; `versioned` figures say which of
    our versions they are of."""

    name: str
    unit: str
    how: How = How.VALUE
    scale: float = 1.0
    labels: tuple[str, ...] = ()
    fixed: str = ""
    per: str = ""
    versioned: bool = False

    def fold(self, values: Iterable[float]) -> float:
        """One value of several that differ in no label that is kept."""
        return max(values) if self.unit in LARGEST else sum(values)


LARGEST = frozenset({"share", "°C", "W", "XID", "errors"})
"""Units whose values are not added up: shares, and what an exporter says of a whole GPU for each part of it (MIG)."""

REQUESTS, FAILURES, QUEUE, LATENCY = "requests_per_second", "failures_per_second", "queue", "engine_latency"
GPU = ("gpu", "gpu_uuid", "UUID", "DeviceId", "device_id")

MODEL_LABELS = ("model", "model_name")
"""The labels that name the model: a figure of another model is none of an endpoint's."""

KNOWN: dict[str, dict[str, Known]] = {
    Exporter.BUNDLED: {
        "lastgood_host_requests_total": Known(REQUESTS, "1/s", How.RATE, versioned=True),
        "lastgood_host_failures_total": Known(FAILURES, "1/s", How.RATE, versioned=True),
        "lastgood_host_exceptions_total": Known(
            "exceptions_per_second", "1/s", How.RATE, labels=("kind",), versioned=True
        ),
        "lastgood_host_refused_total": Known("refused_per_second", "1/s", How.RATE, labels=("status",)),
        "lastgood_host_in_flight": Known("in_flight", "requests", versioned=True),
        "lastgood_host_loaded_bytes": Known("loaded_bytes", "bytes", versioned=True),
        "lastgood_host_request_duration_seconds": Known(LATENCY, "ms", How.BUCKETS, 1e3, versioned=True),
        "lastgood_host_memory_used_bytes": Known("memory_used_bytes", "bytes"),
        "lastgood_host_memory_free_bytes": Known("memory_free_bytes", "bytes"),
        "lastgood_host_gpu_utilisation_ratio": Known("gpu_utilisation", "share", labels=GPU),
        "lastgood_host_gpu_memory_used_bytes": Known("gpu_memory_used_bytes", "bytes", labels=GPU),
        "lastgood_host_gpu_memory_free_bytes": Known("gpu_memory_free_bytes", "bytes", labels=GPU),
        "lastgood_host_gpu_memory_total_bytes": Known("gpu_memory_total_bytes", "bytes", labels=GPU),
        "lastgood_host_gpu_temperature_celsius": Known("gpu_temperature", "°C", labels=GPU),
        "lastgood_host_gpu_power_watts": Known("gpu_power_watts", "W", labels=GPU),
        "lastgood_host_gpu_ecc_corrected_total": Known("gpu_ecc_corrected", "errors", How.GROWTH, labels=GPU),
        "lastgood_host_gpu_ecc_uncorrected_total": Known("gpu_ecc_uncorrected", "errors", How.GROWTH, labels=GPU),
        "lastgood_host_gpu_xid": Known("gpu_xid", "XID", labels=GPU),
    },
    Exporter.TRITON: {
        "nv_inference_request_success": Known(REQUESTS, "1/s", How.RATE),
        "nv_inference_request_failure": Known(FAILURES, "1/s", How.RATE, labels=("reason",)),
        "nv_inference_pending_request_count": Known(QUEUE, "requests"),
        "nv_inference_request_duration_us": Known(
            "engine_latency_mean_ms", "ms", How.MEAN, 1e-3, per="nv_inference_request_success"
        ),
        "nv_inference_queue_duration_us": Known(
            "queue_mean_ms", "ms", How.MEAN, 1e-3, per="nv_inference_request_success"
        ),
        "nv_inference_first_response_histogram_ms": Known(LATENCY, "ms", How.BUCKETS),
        "nv_gpu_utilization": Known("gpu_utilisation", "share", labels=GPU),
        "nv_gpu_memory_used_bytes": Known("gpu_memory_used_bytes", "bytes", labels=GPU),
        "nv_gpu_memory_total_bytes": Known("gpu_memory_total_bytes", "bytes", labels=GPU),
        "nv_gpu_power_usage": Known("gpu_power_watts", "W", labels=GPU),
        "nv_cpu_utilization": Known("cpu_utilisation", "share"),
        "nv_cpu_memory_used_bytes": Known("memory_used_bytes", "bytes"),
    },
    Exporter.TORCHSERVE: {
        "ts_inference_requests_total": Known(REQUESTS, "1/s", How.RATE),
        "ts_inference_latency_microseconds": Known(
            "engine_latency_mean_ms", "ms", How.MEAN, 1e-3, per="ts_inference_requests_total"
        ),
        "ts_queue_latency_microseconds": Known(
            "queue_mean_ms", "ms", How.MEAN, 1e-3, per="ts_inference_requests_total"
        ),
        "Requests4XX": Known(FAILURES, "1/s", How.RATE, fixed="kind=4xx"),
        "Requests5XX": Known(FAILURES, "1/s", How.RATE, fixed="kind=5xx"),
        "CPUUtilization": Known("cpu_utilisation", "share", scale=0.01),
        "MemoryUsed": Known("memory_used_bytes", "bytes", scale=MIB),
        "MemoryAvailable": Known("memory_free_bytes", "bytes", scale=MIB),
        "DiskAvailable": Known("disk_free_bytes", "bytes", scale=2.0**30),
        "GPUUtilization": Known("gpu_utilisation", "share", scale=0.01, labels=GPU),
        "GPUMemoryUsed": Known("gpu_memory_used_bytes", "bytes", scale=MIB, labels=GPU),
    },
    Exporter.MLSERVER: {
        "model_infer_request_success_total": Known(REQUESTS, "1/s", How.RATE),
        "model_infer_request_failure_total": Known(FAILURES, "1/s", How.RATE),
        "rest_server_request_duration_seconds": Known(LATENCY, "ms", How.BUCKETS, 1e3),
        "rest_server_requests_in_progress": Known("in_flight", "requests"),
        "batch_request_queue": Known(QUEUE, "requests"),
        "parallel_request_queue": Known(QUEUE, "requests"),
    },
    Exporter.VLLM: {
        "vllm:num_requests_running": Known("in_flight", "requests"),
        "vllm:num_requests_waiting": Known(QUEUE, "requests"),
        "vllm:request_success_total": Known(REQUESTS, "1/s", How.RATE, labels=("finished_reason",)),
        "vllm:e2e_request_latency_seconds": Known(LATENCY, "ms", How.BUCKETS, 1e3),
        "vllm:time_to_first_token_seconds": Known("first_token", "ms", How.BUCKETS, 1e3),
        "vllm:prompt_tokens_total": Known("prompt_tokens_per_second", "1/s", How.RATE),
        "vllm:generation_tokens_total": Known("generated_tokens_per_second", "1/s", How.RATE),
        "vllm:gpu_cache_usage_perc": Known("kv_cache_used", "share"),
        "vllm:kv_cache_usage_perc": Known("kv_cache_used", "share"),
    },
    Exporter.DCGM: {
        "DCGM_FI_DEV_GPU_UTIL": Known("gpu_utilisation", "share", scale=0.01, labels=GPU),
        "DCGM_FI_DEV_FB_USED": Known("gpu_memory_used_bytes", "bytes", scale=MIB, labels=GPU),
        "DCGM_FI_DEV_FB_FREE": Known("gpu_memory_free_bytes", "bytes", scale=MIB, labels=GPU),
        "DCGM_FI_DEV_GPU_TEMP": Known("gpu_temperature", "°C", labels=GPU),
        "DCGM_FI_DEV_MEMORY_TEMP": Known("gpu_memory_temperature", "°C", labels=GPU),
        "DCGM_FI_DEV_POWER_USAGE": Known("gpu_power_watts", "W", labels=GPU),
        "DCGM_FI_DEV_XID_ERRORS": Known("gpu_xid", "XID", labels=GPU),
        "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": Known("gpu_ecc_corrected", "errors", How.GROWTH, labels=GPU),
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": Known("gpu_ecc_uncorrected", "errors", How.GROWTH, labels=GPU),
    },
    Exporter.NODE: {
        "node_cpu_seconds_total": Known("cpu_utilisation", "share", How.IDLE),
        "node_memory_MemAvailable_bytes": Known("memory_free_bytes", "bytes"),
        "node_memory_MemTotal_bytes": Known("memory_total_bytes", "bytes"),
        "node_filesystem_avail_bytes": Known("disk_free_bytes", "bytes", labels=("mountpoint",)),
        "node_disk_io_time_seconds_total": Known("disk_busy", "share", How.RATE, labels=("device",)),
        "node_network_receive_bytes_total": Known("network_in_bytes", "bytes/s", How.RATE, labels=("device",)),
        "node_network_transmit_bytes_total": Known("network_out_bytes", "bytes/s", How.RATE, labels=("device",)),
    },
}

PORTS: dict[str, tuple[int | None, str]] = {
    Exporter.BUNDLED: (None, "/metrics"),
    Exporter.TRITON: (8002, "/metrics"),
    Exporter.TORCHSERVE: (8082, "/metrics"),
    Exporter.MLSERVER: (8082, "/metrics"),
    Exporter.VLLM: (8000, "/metrics"),
    Exporter.DCGM: (9400, "/metrics"),
    Exporter.NODE: (9100, "/metrics"),
}
"""Where each exporter's figures are unless somebody moved them: port (None: that of the host's address) and path."""
