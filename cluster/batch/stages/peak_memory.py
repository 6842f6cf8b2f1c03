"""The most memory that a scorer's process has taken."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch


def peak_bytes(device: str) -> int:
    """Bytes since the process began: of torch's tensors on a CUDA device, else resident memory of the process.

    Both include loading the weights.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    # psutil has no peak, and getrusage's includes that of the process which forked this one: proc_pid_status(5).
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)):
        return int(peak[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
