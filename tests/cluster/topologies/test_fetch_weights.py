"""A node's weights are fetched once: by eight pods at once, after a pod that was killed, from a store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from cluster.topologies.fetch_weights import fetch_once, main
from reranker.checkpoints.hugging_face import offline
from reranker.embedded import __path__ as embedded

MODEL = "owner/model"


class FakeHub:
    """Writes a file in two steps, as a download does. opened: awaited between them. failures: of the first calls."""

    def __init__(self, cache: Path, failures: int = 0) -> None:
        self.path = cache / "weights"
        self.failures = failures
        self.downloads = 0
        self.opened = threading.Event()

    def download(self) -> None:
        self.downloads += 1
        assert self.downloads == 1 or not self.path.exists() or self.path.read_text() == "half"
        self.path.write_text("half")
        if self.downloads <= self.failures:
            raise OSError("connection reset")
        self.opened.wait()
        self.path.write_text("whole")


def test_eight_pods_download_once(tmp_path: Path) -> None:
    hub = FakeHub(tmp_path)

    def pod(_: int) -> tuple[bool, str]:
        return fetch_once(MODEL, tmp_path, hub.download), hub.path.read_text()

    with ThreadPoolExecutor(8) as pods:
        waiting = [pods.submit(pod, number) for number in range(8)]
        hub.opened.set()
        results = [one.result() for one in waiting]
    assert hub.downloads == 1
    assert sorted(results) == [*[(False, "whole")] * 7, (True, "whole")]


def test_a_failed_download_is_tried_again_by_the_next_pod(tmp_path: Path) -> None:
    hub = FakeHub(tmp_path, failures=1)
    hub.opened.set()
    with pytest.raises(OSError, match="connection reset"):
        fetch_once(MODEL, tmp_path, hub.download)
    assert fetch_once(MODEL, tmp_path, hub.download)
    assert not fetch_once(MODEL, tmp_path, hub.download)
    assert hub.downloads == 2


KILLED_POD = """
import sys, time
from pathlib import Path
from cluster.topologies.fetch_weights import fetch_once
cache = Path(sys.argv[1])
def download():
    (cache / "weights").write_text("half")
    print("downloading", flush=True)
    time.sleep(600)
fetch_once("owner/model", cache, download)
"""


def test_a_pod_killed_while_it_downloads_leaves_neither_lock_nor_marker(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED_POD, tmp_path], stdout=subprocess.PIPE, text=True) as pod:
        assert pod.stdout is not None
        assert pod.stdout.readline() == "downloading\n"
        os.kill(pod.pid, signal.SIGKILL)
    hub = FakeHub(tmp_path)
    hub.opened.set()
    assert fetch_once(MODEL, tmp_path, hub.download)
    assert hub.path.read_text() == "whole"


def test_other_models_and_revisions_do_not_wait_for_each_other(tmp_path: Path) -> None:
    fetched: list[str] = []

    def outer() -> None:
        for key in ("owner/other", f"{MODEL}@v2"):
            assert fetch_once(key, tmp_path, lambda key=key: fetched.append(key))  # type: ignore[misc]

    assert fetch_once(MODEL, tmp_path, outer)
    assert fetched == ["owner/other", "owner/model@v2"]


@pytest.mark.parametrize("revision", [None, "release/v2", "0123456789" * 4])
def test_a_copy_from_a_store_is_found_offline_by_the_models_hub_id(tmp_path: Path, revision: str | None) -> None:
    store, cache = Path(embedded[0]), tmp_path / "cache"
    asked = [] if revision is None else ["--revision", revision]
    assert main([MODEL, str(cache), "--source", store.as_uri(), *asked]) == 0
    found = Path(
        snapshot_download(MODEL, revision=revision, cache_dir=cache, allow_patterns=["*.json"], local_files_only=True)
    )
    for name in ("config.json", "model.safetensors"):
        assert (found / name).read_bytes() == (store / name).read_bytes()


def test_a_driver_gets_no_weights_and_a_worker_does_not_take_its_copy_for_whole(tmp_path: Path) -> None:
    store = Path(embedded[0])
    arguments = [MODEL, str(tmp_path), "--source", store.as_uri()]
    assert main([*arguments, "--without-weights"]) == 0
    copied = {path.name for path in tmp_path.rglob("snapshots/*/*")}
    assert {"config.json", "tokenizer.json"} <= copied
    assert "model.safetensors" not in copied
    assert main(arguments) == 0
    assert {path.name for path in tmp_path.rglob("snapshots/*/*")} >= copied | {"model.safetensors"}


def test_a_store_without_a_checkpoint_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "notes.txt").write_text("x")
    cache = tmp_path / "cache"
    assert main([MODEL, str(cache), "--source", (tmp_path / "store").as_uri()]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fetch_weights: owner/model@file://")
    assert error.count("\n") == 1
    assert "has no config.json" in error
    assert not list(cache.glob(".complete-*"))


def test_an_unknown_model_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))  # undoes what `main` sets
    with offline():
        assert main([MODEL, str(tmp_path)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"fetch_weights: {MODEL}: {MODEL} cannot be loaded: ")
