"""One thread that both loads and runs a model, for processes with several threads.

GNU's OpenMP starts a pool of threads for each thread that opens a parallel region. Once there are more of them than
cores, all of them sleep between regions instead of spinning, and a forward pass has hundreds of regions: a model that
was loaded in another thread loses a sixth of its speed.
"""

from concurrent.futures import ThreadPoolExecutor


def device_thread() -> ThreadPoolExecutor:
    """An executor with a single thread. Load and run a model only through it."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="forward")
