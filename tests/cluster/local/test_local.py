"""A cluster on one machine: what is changed of the production config, what is shown, and that nothing is left."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from cluster.local import lifetime, processes
from cluster.local.deployment import PRODUCTION, differences, rewritten
from cluster.local.host import free_port
from cluster.local.processes import Session
from cluster.local.replicas import snapshot
from cluster.local.state import Machines, Node, StateDirectory
from cluster.local.tables import nodes_table
from reranker.errors import InvalidFile, Unavailable
from tests.cluster.batch.jobs import ROOT, processes_of, ray_directory
from tests.cluster.conftest import Shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a cluster on one machine needs Linux")

NODES = tuple(
    Node(name=name, address=address, gpu=name != "head", session=Session(pid=2**22 + 1, started=1))
    for name, address in [("head", "127.0.0.10"), ("gpu-1", "127.0.0.101"), ("gpu-2", "127.0.0.102")]
)


@pytest.fixture
def production() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(PRODUCTION.read_text())
    return config


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDirectory:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return StateDirectory()


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A session of three: a shell, and two below it in process groups of their own."""
    script = "set -m; sleep 600 & (sleep 600); wait"
    process = processes.start(["bash", "-c", script], tmp_path / "log", os.environ)
    while len(processes.members(processes.session_of(process))) < 3:
        time.sleep(0.02)
    yield process
    processes.kill([processes.session_of(process)])
    process.wait()


def test_only_what_one_machine_needs_differs_from_production(production: dict[str, Any]) -> None:
    before = yaml.safe_dump(production)
    config = rewritten(production, model=Path("/models/small"), replicas=5, port=8000)
    application = "applications.reranker"
    assert differences(production, config) == [
        ("proxy_location", "EveryNode", "HeadOnly"),
        (f"{application}.args.model", "abdoelsayed/dear-8b-reranker-ranknet-v1", "/models/small"),
        (f"{application}.args.device", "cuda", "cpu"),
        (f"{application}.deployments.Scorer.autoscaling_config.min_replicas", "1", "5"),
        (f"{application}.deployments.Scorer.autoscaling_config.max_replicas", "8", "5"),
    ]
    assert yaml.safe_dump(production) == before, "the production config itself is left alone"
    (scorer,) = [one for one in config["applications"][0]["deployments"] if one["name"] == "Scorer"]
    assert scorer["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 1, "resources": {"gpu_24gb": 1}}


def test_another_port_is_the_only_other_difference(production: dict[str, Any]) -> None:
    first, second = (rewritten(production, model=Path("m"), replicas=1, port=port) for port in (8000, 8100))
    assert differences(first, second) == [("http_options.port", "8000", "8100")]


def test_the_state_survives_and_is_removed_with_rays_files(directory: StateDirectory, tmp_path: Path) -> None:
    assert directory.read() is None
    ray_files = tmp_path / "ray"
    ray_files.mkdir()
    state = Machines(ray_directory=ray_files, gcs="127.0.0.10:6379", url="http://127.0.0.1:8000", nodes=NODES)
    directory.write(state)
    assert StateDirectory().read() == state
    assert lifetime.running(directory) is None, "no process has these pids"
    assert lifetime.down(directory) == (0, 0)
    assert (directory.path.exists(), ray_files.exists()) == (False, False)


def test_a_state_that_cannot_be_read_is_named(directory: StateDirectory) -> None:
    directory.path.mkdir(parents=True)
    (directory.path / "machines.json").write_text("{}")
    with pytest.raises(InvalidFile, match=r"machines\.json: is not what this version wrote"):
        directory.read()


def test_a_session_is_found_whole_and_ends_whole(sleeper: subprocess.Popen[bytes]) -> None:
    session = processes.session_of(sleeper)
    assert sleeper.pid in processes.members(session)
    assert processes.members(session.model_copy(update={"started": session.started - 1})) == [], "the pid came again"
    assert processes.kill([session]) == 3
    assert processes.members(session) == []


def test_down_and_status_without_a_cluster(shell: Shell, directory: StateDirectory) -> None:
    assert shell("cluster", "down") == (0, "No cluster runs here.\n", "")
    code, _, err = shell("cluster", "status")
    assert (code, err) == (1, "reranker: no cluster runs here: `make cluster` starts one\n")


def test_a_second_cluster_is_refused(directory: StateDirectory, sleeper: subprocess.Popen[bytes]) -> None:
    node = NODES[0].model_copy(update={"session": processes.session_of(sleeper)})
    state = Machines(ray_directory=directory.path, gcs="127.0.0.10:1", url="http://127.0.0.1:8000", nodes=(node,))
    directory.write(state)
    with pytest.raises(Unavailable, match=r"runs already at http://127\.0\.0\.1:8000"):
        lifetime.up(directory, Console(quiet=True), gpus=1, port=8000)
    assert lifetime.running(directory) == state


def test_a_taken_port_is_said_before_anything_starts(directory: StateDirectory) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} cannot be had"):
            lifetime.up(directory, Console(quiet=True), gpus=1, port=port)
    assert not directory.path.exists()


def test_each_node_has_a_row_and_so_has_a_replica_without_one() -> None:
    def replica(name: str, state: str, node_ip: str | None = None) -> dict[str, Any]:
        return {"replica_id": name, "state": state, "node_ip": node_ip, "pid": 7 if node_ip else None}

    details = {
        "applications": {
            "reranker": {
                "status": "DEPLOYING",
                "deployments": {
                    "Gateway": {"status": "HEALTHY", "replicas": [replica("gateway-a", "RUNNING", "127.0.0.10")]},
                    "Scorer": {
                        "status": "UPDATING",
                        "message": "has 1 replicas that have taken more than 5s to be scheduled",
                        "replicas": [
                            replica("scorer-b", "RUNNING", "127.0.0.101"),
                            replica("scorer-c", "RUNNING", "127.0.0.102"),
                            replica("scorer-d", "STARTING"),
                        ],
                    },
                },
            }
        }
    }
    now = snapshot(["127.0.0.10", "127.0.0.101"], details)
    assert now.problem is None
    machines = Machines(ray_directory=Path("x"), gcs="", url="", nodes=NODES)
    text = _text(nodes_table(machines, now, "now"))
    assert re.search(r"head +│ 127\.0\.0\.10 +│ none +│ Gateway gateway-a +│ 7 +│ RUNNING", text)
    assert re.search(r"gpu-1 +│ 127\.0\.0\.101 +│ gpu_24gb │ Scorer scorer-b +│ 7 +│ RUNNING", text)
    assert re.search(r"gpu-2 +│ 127\.0\.0\.102 +│ gpu_24gb │ nothing +│ +│ lost", text)
    assert len(re.findall(r"none +│ +│ +│ Scorer scorer-[cd]", text)) == 2


def test_a_deployment_that_fails_is_a_problem_with_serves_words() -> None:
    deployment = {"status": "DEPLOY_FAILED", "message": "golden pair 3 scores 1.0", "replicas": []}
    details = {"applications": {"reranker": {"status": "DEPLOY_FAILED", "deployments": {"Scorer": deployment}}}}
    assert snapshot([], details).problem == "Scorer: golden pair 3 scores 1.0"
    assert snapshot([], {}).problem is None


@pytest.mark.slow
def test_a_cluster_comes_up_loses_a_node_and_leaves_nothing(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with ray_directory() as scratch:
        environment = os.environ | {"XDG_STATE_HOME": str(tmp_path), "TMPDIR": str(scratch), "COLUMNS": "160"}

        def command(*args: str) -> subprocess.CompletedProcess[str]:
            whole = [sys.executable, "-m", "cluster", "cluster", *args]
            return subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

        came_up = command("up", "--gpus", "2", "--port", str(port))
        try:
            assert came_up.returncode == 0, came_up.stdout + came_up.stderr
            assert re.search(r"none +│ +│ +│ Scorer \S+ +│ +│ STARTING", came_up.stdout)
            assert re.search(r'Why it waits.*"gpu_24gb": 1.*total resources available', _joined(came_up.stdout))
            assert re.search(r"gpu-1 .*│ lost", came_up.stdout)
            assert re.search(r"gpu-3 .*│ RUNNING", came_up.stdout)
            assert re.search(r"Meanwhile \d+ requests, 0 failed", _joined(came_up.stdout))

            again = command("up", "--gpus", "2", "--port", str(port))
            assert (again.returncode, again.stderr.count("\n")) == (1, 1)
            assert "a cluster runs already" in again.stderr
            shown = command("status")
            assert re.search(r"gpu-2 .*│ RUNNING", shown.stdout), shown.stdout + shown.stderr
            assert httpx.get(f"http://127.0.0.1:{port}/health").json()["model"] == "small-llama"
            assert processes_of(scratch)
        finally:
            stopped = command("down")
        assert stopped.returncode == 0
        assert re.fullmatch(r"\d+ processes ended, 0 left\.\n", stopped.stdout)
        assert processes_of(scratch) == []
        assert list(scratch.iterdir()) == []
        assert command("down").stdout == "No cluster runs here.\n"


def _text(table: object) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _joined(text: str) -> str:
    """Without the line breaks that the terminal's width has made."""
    return " ".join(text.split())
