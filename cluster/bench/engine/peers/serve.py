"""Run one driver: `python serve.py DRIVER.py SETTINGS`, JSON lines in and out. Standard library only.

A driver is a file with `PACKAGES`, the distributions whose versions are reported, and
`load(settings) -> (answer, notes)`: `answer` turns a request into a dict, `notes` are sentences for the reader of the
figures. The first line out is `{"load_s", "versions", "notes"}`. Each request is answered with the driver's dict,
`"seconds"`, the driver's own time without the pipe, and `"device_bytes"`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any


def main() -> None:
    driver_path, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    # Drivers have the names of the packages that they import: their directory must not come first.
    sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    # Libraries print to stdout, which therefore becomes stderr; the pipe carries answers only.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    started = time.perf_counter()
    driver = _module(driver_path)
    answer, notes = driver.load(settings)
    say({"load_s": time.perf_counter() - started, "versions": _versions(driver.PACKAGES), "notes": notes})
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        answered = answer(request)
        say({**answered, "seconds": time.perf_counter() - started, "device_bytes": _device_bytes()})


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.stem}_driver", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _device_bytes() -> int | None:
    """Peak memory of this process's tensors on a CUDA device; None if it uses none."""
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_allocated() if torch and torch.cuda.is_initialized() else None


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


if __name__ == "__main__":  # libraries that spawn processes import this file again
    main()
