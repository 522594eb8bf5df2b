"""The device that models are computed on, and its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def pick_device() -> torch.device:
    """The first CUDA device, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def _main_memory() -> tuple[int, int]:
    """(total, available) bytes of the machine."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemTotal"].split()[0]) * 1024, int(lines["MemAvailable"].split()[0]) * 1024


def free_memory(device: torch.device) -> int:
    """Bytes free where models are loaded."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _main_memory()[1]


def memory(device: torch.device) -> dict[str, int]:
    """Bytes of the memory that models are loaded into: total, used and free."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
    else:
        total, free = _main_memory()
    return {"total": total, "used": total - free, "free": free}


def gpus() -> list[dict[str, Any]]:
    """Every CUDA device: index, name, and bytes total, free and allocated by this host."""
    result = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        result.append(
            {
                "index": index,
                "name": torch.cuda.get_device_name(index),
                "memory_total": total,
                "memory_free": free,
                "memory_allocated": torch.cuda.memory_allocated(index),
            }
        )
    return result
