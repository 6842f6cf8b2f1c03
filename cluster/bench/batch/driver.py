"""Run one batch job in this process: settings as JSON on stdin; its report is in the output directory.

argv[1] is the number of logical CPUs of the Ray that it starts; it may exceed the cores, because simulated scorers
only sleep.
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
