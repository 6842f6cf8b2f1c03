"""What a figure was measured on; figures without it cannot be compared."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from reranker.version import __version__


def machine_facts(device: str) -> dict[str, Any]:
    """CPU model, cores, memory, device and versions, as a JSON object."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {"dear-reranker": __version__} | {name: version(name) for name in ("torch", "transformers")},
    }


def _cpu_model() -> str:
    """The CPU's model name, which neither psutil nor `platform` gives on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
