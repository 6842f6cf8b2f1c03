"""One batch job in a process of its own: settings as JSON on stdin; its report lies in its output.

argv[1]: logical CPUs of the Ray it starts, which has nothing to do with the machine's: simulated scorers only sleep.
"""

import logging
import os
import sys

import ray
from rich.console import Console

from cluster.batch.job import run_batch
from cluster.batch.settings import BatchSettings


def main() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    settings = BatchSettings.model_validate_json(sys.stdin.read())
    ray.init(
        address="local",
        num_cpus=int(sys.argv[1]),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    run_batch(settings, Console(quiet=True))


if __name__ == "__main__":
    main()
