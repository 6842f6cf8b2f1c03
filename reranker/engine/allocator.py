"""When this process's C allocator returns freed memory to the system.

By default glibc returns a large tensor's memory when it is freed, and the next pass pays for its page faults again.
The memory kept is bounded by the peak of a pass.
"""

import ctypes
import sys

# malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Keep freed memory for reuse, for the rest of the process. Returns False without glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # One arena for all threads: the arena of the thread that runs the forwards would be too small to keep tensors.
    mallopt(_ARENA_MAX, 1)
    return bool(mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))


def give_back_freed_memory() -> None:
    """Return all freed memory to the system once. For a process whose largest work is done."""
    if sys.platform.startswith("linux") and (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        malloc_trim(0)
