"""A cluster on one machine: the changes to the production config, what is printed, and a complete shutdown."""

import json
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

from cluster.configs import PRODUCTION
from cluster.local import lifecycle, processes
from cluster.local.deployment import differences, local_config
from cluster.local.host import free_port
from cluster.local.processes import Session
from cluster.local.replicas import parse_snapshot
from cluster.local.state import ClusterState, Node, StateDirectory
from cluster.local.tables import nodes_table
from reranker.errors import Unavailable
from tests.cluster.batch.jobs import ROOT, processes_of, ray_directory
from tests.cluster.conftest import Shell

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a cluster on one machine needs Linux")

NODES = tuple(
    Node(name=name, address=address, gpu=name != "head", session=Session(pid=2**22 + 1, started_s=1.0))
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
    """A session of three processes: a shell and two children, each in its own process group."""
    script = "set -m; sleep 600 & (sleep 600); wait"
    process = processes.start(["bash", "-c", script], tmp_path / "log", os.environ)
    while len(processes.members(processes.session_of(process))) < 3:
        time.sleep(0.02)
    yield process
    processes.kill([processes.session_of(process)])
    process.wait()


def test_local_config_changes_only_model_device_proxies_and_replicas(production: dict[str, Any]) -> None:
    before = yaml.safe_dump(production)
    config = local_config(production, model=Path("/models/small"), replicas=5, port=8000)
    application = "applications.reranker"
    assert differences(production, config) == [
        ("proxy_location", "EveryNode", "HeadOnly"),
        (f"{application}.args.model", "abdoelsayed/dear-8b-reranker-ranknet-v1", "/models/small"),
        (f"{application}.args.device", "cuda", "cpu"),
        (f"{application}.deployments.Scorer.autoscaling_config.min_replicas", "1", "5"),
        (f"{application}.deployments.Scorer.autoscaling_config.max_replicas", "8", "5"),
    ]
    assert yaml.safe_dump(production) == before, "the production config is not changed in place"
    (scorer,) = [one for one in config["applications"][0]["deployments"] if one["name"] == "Scorer"]
    assert scorer["ray_actor_options"] == {"num_cpus": 2, "num_gpus": 1, "resources": {"gpu_24gb": 1}}


def test_local_config_with_another_port_differs_only_in_that_port(production: dict[str, Any]) -> None:
    first, second = (local_config(production, model=Path("m"), replicas=1, port=port) for port in (8000, 8100))
    assert differences(first, second) == [("http_options.port", "8000", "8100")]


def test_state_is_read_back_and_removed_together_with_rays_files(directory: StateDirectory, tmp_path: Path) -> None:
    assert directory.read() is None
    ray_files = tmp_path / "ray"
    ray_files.mkdir()
    state = ClusterState(ray_directory=ray_files, gcs="127.0.0.10:6379", url="http://127.0.0.1:8000", nodes=NODES)
    directory.write(state)
    assert StateDirectory().read() == state
    assert lifecycle.running(directory) is None, "no process with these pids is alive"
    assert lifecycle.down(directory) == (0, 0)
    assert (directory.path.exists(), ray_files.exists()) == (False, False)


def test_status_and_down_refuse_the_state_file_of_another_version(shell: Shell, directory: StateDirectory) -> None:
    node = {"name": "head", "address": "127.0.0.10", "gpu": False, "session": {"pid": 7, "started": 1234}}
    written = {"ray_directory": "ray", "gcs": "127.0.0.10:1", "url": "http://127.0.0.1:8000", "nodes": [node]}
    directory.path.mkdir(parents=True)
    (directory.path / "machines.json").write_text(json.dumps(written))
    for command in ("status", "down"):
        code, _, err = shell("cluster", command)
        assert (code, err.count("\n")) == (2, 1)
        assert "machines.json: was not written by this version: stop that cluster with the version that" in err
    assert (directory.path / "machines.json").exists()


def test_session_members_are_found_and_killed_across_process_groups(sleeper: subprocess.Popen[bytes]) -> None:
    session = processes.session_of(sleeper)
    assert sleeper.pid in processes.members(session)
    earlier = session.model_copy(update={"started_s": session.started_s - 60})
    assert processes.members(earlier) == [], "the pid was reused by a later process"
    assert processes.kill([session]) == 3
    assert processes.members(session) == []


def test_session_members_are_found_after_their_leader_has_exited(sleeper: subprocess.Popen[bytes]) -> None:
    session = processes.session_of(sleeper)
    sleeper.kill()
    sleeper.wait()
    assert not processes.is_leader_alive(session)
    assert processes.kill([session]) == 2


def test_down_and_status_say_that_no_cluster_is_running(shell: Shell, directory: StateDirectory) -> None:
    assert shell("cluster", "down") == (0, "No cluster is running.\n", "")
    code, _, err = shell("cluster", "status")
    assert (code, err) == (1, "reranker: no cluster is running: start one with `make cluster`\n")


def test_up_refuses_to_start_a_second_cluster(directory: StateDirectory, sleeper: subprocess.Popen[bytes]) -> None:
    node = NODES[0].model_copy(update={"session": processes.session_of(sleeper)})
    state = ClusterState(ray_directory=directory.path, gcs="127.0.0.10:1", url="http://127.0.0.1:8000", nodes=(node,))
    directory.write(state)
    with pytest.raises(Unavailable, match=r"already running at http://127\.0\.0\.1:8000"):
        lifecycle.up(directory, Console(quiet=True), gpus=1, port=8000)
    assert lifecycle.running(directory) == state


def test_up_refuses_a_port_in_use_before_starting_anything(directory: StateDirectory) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} is not available"):
            lifecycle.up(directory, Console(quiet=True), gpus=1, port=port)
    assert not directory.path.exists()


def test_nodes_table_has_a_row_per_node_and_per_unplaced_scorer() -> None:
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
    now = parse_snapshot(["127.0.0.10", "127.0.0.101"], details)
    assert now.problem is None
    machines = ClusterState(ray_directory=Path("x"), gcs="", url="", nodes=NODES)
    text = _text(nodes_table(machines, now, "now"))
    assert re.search(r"head +│ 127\.0\.0\.10 +│ none +│ Gateway gateway-a +│ 7 +│ RUNNING", text)
    assert re.search(r"gpu-1 +│ 127\.0\.0\.101 +│ gpu_24gb │ Scorer scorer-b +│ 7 +│ RUNNING", text)
    assert re.search(r"gpu-2 +│ 127\.0\.0\.102 +│ gpu_24gb │ none +│ +│ lost", text)
    assert len(re.findall(r"none +│ +│ +│ Scorer scorer-[cd]", text)) == 2


def test_snapshot_reports_a_failed_deployment_with_serves_message() -> None:
    deployment = {"status": "DEPLOY_FAILED", "message": "golden pair 3 scores 1.0", "replicas": []}
    details = {"applications": {"reranker": {"status": "DEPLOY_FAILED", "deployments": {"Scorer": deployment}}}}
    assert parse_snapshot([], details).problem == "Scorer: golden pair 3 scores 1.0"
    assert parse_snapshot([], {}).problem is None


@pytest.mark.slow
def test_cluster_starts_survives_a_lost_node_and_stops_without_leftovers(tmp_path: Path) -> None:
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
            assert re.search(r'reason: .*"gpu_24gb": 1.*total resources available', _joined(came_up.stdout))
            assert re.search(r"gpu-1 .*│ lost", came_up.stdout)
            assert re.search(r"gpu-3 .*│ RUNNING", came_up.stdout)
            assert re.search(r"The client sent \d+ requests, 0 failed", _joined(came_up.stdout))

            again = command("up", "--gpus", "2", "--port", str(port))
            assert (again.returncode, again.stderr.count("\n")) == (1, 1)
            assert "a cluster is already running" in again.stderr
            shown = command("status")
            assert re.search(r"gpu-2 .*│ RUNNING", shown.stdout), shown.stdout + shown.stderr
            assert httpx.get(f"http://127.0.0.1:{port}/health").json()["model"] == "small-llama"
            assert processes_of(scratch)
        finally:
            stopped = command("down")
        assert stopped.returncode == 0
        assert re.fullmatch(r"\d+ processes stopped, 0 still running\.\n", stopped.stdout)
        assert processes_of(scratch) == []
        assert list(scratch.iterdir()) == []
        assert command("down").stdout == "No cluster is running.\n"


def _text(table: object) -> str:
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _joined(text: str) -> str:
    """The text without the line breaks of the terminal."""
    return " ".join(text.split())
