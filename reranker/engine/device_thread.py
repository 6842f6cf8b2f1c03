"""The one thread that loads a model and runs it, for shells that have several threads.

GNU's OpenMP gives each thread that opens a parallel region workers of its own. Once those are more than the cores,
all of them sleep between regions rather than spin, and a forward pass has hundreds of regions: a model that was
loaded in one thread and runs in another loses a sixth of its speed.
"""

from concurrent.futures import ThreadPoolExecutor


def device_thread() -> ThreadPoolExecutor:
    """An executor with a single thread. Whatever touches tensors of one model goes through it, loading included."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")
