"""Runs on Ray Train: two workers, one of which is killed, end with the curve of an undisturbed run."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from tests.cluster.training.test_run import curve, weights

TIMEOUT_S = 300
STEPS = 120


@pytest.fixture
def ray_config(run_config: dict[str, Any]) -> dict[str, Any]:
    """Steps that take long enough for one of them to be interrupted."""
    del run_config["local"]
    run_config["step"] |= {"steps": STEPS, "queries_per_step": 8, "learning_rate": 1e-4}
    return run_config | {
        "workers": 2,
        "checkpoint_every_steps": 10,
        "evaluation": run_config["evaluation"] | {"every_steps": 30},
    }


@contextlib.contextmanager
def started(config: dict[str, Any], *options: str) -> Iterator[subprocess.Popen[str]]:
    output = Path(config["output"])
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster", "train", "run", str(path), *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stderr is not None:
            process.stderr.close()


def finish(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    return errors


def await_step(output: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if (output / "curve.csv").is_file() and len(curve(output)) >= step:
            return
        time.sleep(0.05)
    pytest.fail(f"no step {step} within {TIMEOUT_S} s")


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_killed_worker_goes_back_to_the_last_checkpoint_and_to_the_same_curve(
    ray_config: dict[str, Any], tmp_path: Path
) -> None:
    """Also that groups from Ray Data are those that the worker's own threads encode."""
    undisturbed = ray_config | {"output": str(tmp_path / "undisturbed"), "feed": "threads"}
    with started(undisturbed) as process:
        finish(process)
    output = Path(ray_config["output"])
    with started(ray_config) as process:
        await_step(output, 35, process)
        both = workers_of(process)
        assert len(both) == 2
        both[1].kill()
        finish(process)
    assert len(curve(output)) == STEPS
    assert curve(output) == curve(tmp_path / "undisturbed")
    expected = weights(tmp_path / "undisturbed")
    assert all(torch.equal(expected[name], value) for name, value in weights(output).items())


@pytest.mark.slow
def test_killed_job_is_resumed_from_its_last_checkpoint(ray_config: dict[str, Any]) -> None:
    output = Path(ray_config["output"])
    with started(ray_config) as process:
        await_step(output, 35, process)
        process.kill()
        process.wait()
    with started(ray_config, "--resume") as process:
        finish(process)
    assert [int(row["step"]) for row in curve(output)] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_error_of_a_worker_reaches_the_terminal_as_one_line(ray_config: dict[str, Any]) -> None:
    with started(ray_config | {"teacher": {"weights": {"nobody": 1.0}}}) as process:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert errors.strip().splitlines()[-1].endswith("no such teacher: make it with `reranker train teacher`")
