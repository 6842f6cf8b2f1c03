"""The C allocator of this process: when it gives memory back to the system.

By default glibc returns large tensors to the system when they are freed, and the next pass pays for every page again.
What is kept is bounded by what a pass takes at its peak.
"""

import ctypes
import sys

# malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 2**30


def keep_freed_memory() -> bool:
    """For the rest of the process; False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Forwards run in a thread of their own, and an arena of its own would be too small to keep anything.
    mallopt(_ARENA_MAX, 1)
    return bool(mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))


def give_back_freed_memory() -> None:
    """Once, now: what the process has freed goes back to the system. For a process whose largest work is done."""
    if sys.platform.startswith("linux") and (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        malloc_trim(0)
