"""What a figure was measured on: figures without it cannot be compared."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine_facts(device: str) -> dict[str, Any]:
    """cpu: its model name, as the system gives it. memory_bytes: None where the system does not tell."""
    try:
        memory_bytes: int | None = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        memory_bytes = None
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("dear-reranker", "torch", "transformers")},
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
