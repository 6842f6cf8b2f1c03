"""A batch job whose processes are killed at random points, and resumed: its files equal those of an undisturbed job.

RERANKER_KILLS is the number of kill points, RERANKER_KILLS_SEED the random seed that draws them.
"""

import os
import random
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from ray.cluster_utils import Cluster

from tests.cluster.batch.jobs import PART, Job, wait_until, write_copies

pytestmark = pytest.mark.slow  # test_job_resume.py kills one job in the fast suite

KILLS = int(os.environ.get("RERANKER_KILLS", "3"))
SEED = int(os.environ.get("RERANKER_KILLS_SEED", "20"))
UNITS = 24
SIMULATED = {"unit_pairs": 100, "scorers": 2, "encoders": 1, "engine": {"simulated_tokens_per_s": 60_000}}
DRIVER, SCORER, ENCODER = "driver", "ScoreStage", "EncodeStage"


class Kill(NamedTuple):
    """What to kill, and when: after `more_units` more units, once a file `seen` exists, and `pause_s` later."""

    target: str
    more_units: int = 0
    seen: str = "*"
    pause_s: float = 0.0


def drawn(number: int, seed: int) -> list[Kill]:
    """Random kill points in time order: the first during planning, the last when every unit is scored."""
    chance = random.Random(seed)  # noqa: S311

    def soon() -> int:
        return chance.randint(1, max(1, UNITS // number))

    kinds = [
        lambda: Kill(SCORER, soon(), pause_s=chance.uniform(0, 0.3)),
        lambda: Kill(DRIVER, soon(), "parquet/.part-*"),
        lambda: Kill(ENCODER, soon(), pause_s=chance.uniform(0, 0.3)),
        lambda: Kill(DRIVER, soon(), pause_s=chance.uniform(0, 0.3)),
    ]
    planning, starting = (
        Kill(DRIVER, 0, "work/passages.arrow"),
        Kill(DRIVER, 0, "work/plan.json", chance.uniform(0, 6)),
    )
    early = [planning] if number <= 6 else [planning, starting]
    middle = [kinds[place % len(kinds)]() for place in range(number - len(early) - 1)]
    chance.shuffle(middle)
    return [*early, *middle, Kill(DRIVER, UNITS, "*run.trec*")]


def strike(kill: Kill, job: Job, process: "subprocess.Popen[bytes]") -> None:
    """Wait for the kill point, then kill. Does nothing if the job finishes before."""
    units = min(UNITS, len(job.parts) + kill.more_units)
    if not wait_until(lambda: job.count(f"parquet/{PART}") >= units, process):
        return
    if not wait_until(lambda: job.count(kill.seen), process, pause_s=0.0005):
        return
    time.sleep(kill.pause_s)
    if kill.target == DRIVER:
        process.kill()
        process.wait()
    elif workers := job.workers(kill.target):
        workers[-1].kill()


@pytest.fixture(scope="module")
def undisturbed(scratch: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    inputs = write_copies(tmp_path_factory.mktemp("job") / "in", queries=2 * UNITS, candidates=50)
    job = Job(scratch, tmp_path_factory.mktemp("job") / "undisturbed", **inputs, **SIMULATED)
    assert job.run()["this_run"]["units"] == UNITS
    return job


def test_job_killed_repeatedly_resumes_to_equal_files(undisturbed: Job, tmp_path: Path) -> None:
    print(f"RERANKER_KILLS={KILLS} RERANKER_KILLS_SEED={SEED}")
    job = Job(undisturbed.scratch, tmp_path / "killed", **undisturbed.settings)
    process, parts_before = job.start(), 0
    for kill in drawn(KILLS, SEED):
        strike(kill, job, process)
        parts = job.parts
        print(f"{kill}: {len(parts)} parts, half written {job.half_written}")
        assert parts.items() <= undisturbed.parts.items()
        if process.poll() is not None:
            process, parts_before = job.start(), len(parts)
    report = job.report(process)

    assert report["this_run"]["units"] + parts_before == UNITS, "finished units are not scored again"
    assert job.files == undisturbed.files
    pairs = [tuple(line.split()[:3:2]) for line in (job.output / "run.trec").read_text().splitlines()]
    assert len(pairs) == len(set(pairs)) == 100 * UNITS


def test_job_survives_the_loss_of_a_node(undisturbed: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is killed with all its processes; until Ray notices, it still sends units there."""
    monkeypatch.setenv("RAY_TMPDIR", str(undisturbed.scratch))
    three_checks = {"health_check_failure_threshold": 3}  # one every 3 s
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": three_checks}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        more = {"address": cluster.address, "scorers": 3}
        job = Job(undisturbed.scratch, tmp_path / "out", **undisturbed.settings | more)
        process = job.start()
        wait_until(lambda: job.count(f"parquet/{PART}") >= 3, process)
        raylets = {worker.parent() for worker in job.workers(SCORER)}
        node = next(raylet for raylet in raylets if "--head" not in raylet.cmdline())
        for victim in [node, *node.children(recursive=True)]:
            victim.kill()
        print(f"killed a node after {len(job.parts)} parts")
        assert job.report(process)["this_run"]["units"] == UNITS
    finally:
        cluster.shutdown()
    assert job.files == undisturbed.files
