"""Put a checkpoint into a node's cache once, however many pods of the node ask for it.

    python -m cluster.topologies.fetch_weights MODEL CACHE [--revision REVISION] [--source s3://bucket/directory]

CACHE has the layout of the hub's cache, so that a replica with HF_HUB_CACHE=CACHE and HF_HUB_OFFLINE=1 finds MODEL by
its hub id. The pods of a node share it: the first one downloads and holds a lock, the others wait for it. The kernel
drops the lock of a pod that is killed, and the next one goes on. A checkpoint is complete when its marker is there.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reranker.errors import RerankerError

_COMMIT = re.compile("[0-9a-f]{40}")
_WEIGHTS = re.compile(r"(?!adapter_model).*\.(safetensors|bin)")  # an adapter's are few, and the driver reads them


def fetch_once(key: str, cache: Path, fetch: Callable[[], None]) -> bool:
    """Call `fetch` unless its result is in the cache. Returns whether it was called.

    key: a name of what is fetched. Whatever `fetch` raises is raised, and the next caller tries again.
    """
    name = re.sub(r"[^\w.-]+", "--", key)
    cache.mkdir(parents=True, exist_ok=True)
    marker = cache / f".complete-{name}"
    with _locked(cache / f".lock-{name}"):
        if marker.exists():
            return False
        fetch()
        # The files before the marker: after a power failure, a marker must not name files that are not on the disk.
        os.sync()
        marker.write_text(f"{key}\n", "utf-8")
        return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process fills {path.parent}: waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def from_hub(model: str, revision: str | None, cache: Path, *, weights: bool) -> None:
    """Download what a replica will load, an adapter's base model too. Raises CheckpointError."""
    os.environ["HF_HUB_CACHE"] = str(cache)  # read when the library is imported
    from reranker.checkpoints.files import locate
    from reranker.settings import CheckpointSettings

    locate(CheckpointSettings(model=model, revision=revision), weights=weights)


def from_store(source: str, model: str, revision: str | None, cache: Path, *, weights: bool) -> None:
    """Copy a checkpoint's directory from a URL that pyarrow's filesystems know, as this revision of the model.

    Raises OSError, ValueError.
    """
    import pyarrow.fs

    repository = cache / f"models--{model.replace('/', '--')}"
    # The hub's cache keeps files by commit, and says in `refs` which commit a branch or tag is.
    commit = revision if revision and _COMMIT.fullmatch(revision) else "mirrored"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    disk = pyarrow.fs.LocalFileSystem()
    store, root = pyarrow.fs.FileSystem.from_uri(source.rstrip("/"))
    for file in store.get_file_info(pyarrow.fs.FileSelector(root)):
        if file.is_file and (weights or not _WEIGHTS.fullmatch(file.base_name)):
            target = str(snapshot / file.base_name)
            pyarrow.fs.copy_files(file.path, target, source_filesystem=store, destination_filesystem=disk)
    if not (snapshot / "config.json").is_file():
        raise FileNotFoundError(f"{source} has no config.json: it is not the directory of a checkpoint")
    name = repository / "refs" / (revision or "main")
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_text(commit, "utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fetch_weights", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("model", help="hub id, as in serve_config.yaml")
    parser.add_argument("cache", type=Path, help="directory that the node's pods share")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--source", help="copy the files from this URL, not from the hub")
    parser.add_argument("--without-weights", action="store_true", help="config and tokenizer alone, for a driver")
    options = parser.parse_args(arguments)

    def fetch() -> None:
        if options.source:
            from_store(options.source, options.model, options.revision, options.cache, weights=weights)
        else:
            from_hub(options.model, options.revision, options.cache, weights=weights)

    weights = not options.without_weights
    key = "@".join(filter(None, (options.model, options.revision, options.source)))
    key += "" if weights else " without weights"
    try:
        fetched = fetch_once(key, options.cache, fetch)
    except (OSError, ValueError, RerankerError) as error:
        print(f"fetch_weights: {key}: {error}", file=sys.stderr)
        return 1
    print(f"{key} {'was fetched into' if fetched else 'is already in'} {options.cache}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
