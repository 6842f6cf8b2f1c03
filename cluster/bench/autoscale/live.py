"""Short traces on a real Serve, under our policy and under Serve's default.

The graph is known as a config and a URL; each run starts its own Ray in its own process. Scorers are simulated, so
that four of them fit on two cores. Traces and the delays of both policies are 15 times shorter than in production;
replicas take as long to start as they do on this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cluster.bench.autoscale.figures import flaps
from cluster.bench.autoscale.traces import make_trace
from cluster.bench.workload import sample_requests
from cluster.configs import LAPTOP
from cluster.local.host import free_port
from reranker.errors import Unavailable

POLICIES = ("ours", "default")
_SPEEDUP = 15
_DOCUMENTS = 10  # per request: about 950 tokens at the lengths of MS MARCO
_REQUEST_TOKENS = 950.0
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """peak_replicas: number of replicas that the trace's peak keeps busy. tokens_per_s: speed of a scorer."""

    length_s: int = 75
    peak_replicas: float = 3.0
    max_replicas: int = 4
    tokens_per_s: float = 2_000.0
    startup_s: float = 8.0
    seed: int = 0


def measure_live(
    traces: Sequence[str], settings: LiveSettings, progress: Callable[[str], None], policies: Sequence[str] = POLICIES
) -> list[dict[str, Any]]:
    """A row per trace and policy. A run that fails has none, and `progress` is told why."""
    rows = []
    for trace in traces:
        for policy in policies:
            progress(f"live, {trace}, {policy}: {settings.length_s} s, after Ray has started")
            try:
                rows.append(_row(trace, policy, _drive(trace, policy, settings)))
            except Unavailable as error:
                progress(str(error))
    return rows


def graph_config(trace: str, policy: str, settings: LiveSettings, port: int) -> dict[str, Any]:
    """The laptop graph with simulated, autoscaled scorers; on the trace `zero` the minimum is no replica."""
    config: dict[str, Any] = yaml.safe_load(LAPTOP.read_text("utf-8"))
    config["http_options"]["port"] = port
    application = config["applications"][0]
    # A batch takes a second, so that work on the device is as small a part of the backlog as on a GPU.
    application["args"]["engine"] = {
        "simulated_tokens_per_s": settings.tokens_per_s,
        "max_batch_tokens": int(settings.tokens_per_s),
    }
    # Queue everything: only our policy sees refused work, and the comparison is of waits.
    application["args"]["admission"] = {"queue_s": 100}
    scaling: dict[str, Any] = {
        "min_replicas": 0 if trace == "zero" else 1,
        "max_replicas": settings.max_replicas,
        "metrics_interval_s": 1,
        "look_back_period_s": 3,
    }
    if policy == "ours":
        scaling |= {"upscale_delay_s": 0, "downscale_delay_s": 0}
        scaling["policy"] = {
            "policy_function": "deployments.autoscaling:WorkPolicy",
            "policy_kwargs": {
                "startup_s": settings.startup_s,
                "rate_window_s": 5,
                "downscale_window_s": 300 / _SPEEDUP,
                "idle_s": 10,
                "tokens_per_s": settings.tokens_per_s,
                "tokens_per_call": _REQUEST_TOKENS,
            },
        }
    else:
        scaling |= {
            "target_ongoing_requests": 2,
            "upscale_delay_s": 30 / _SPEEDUP,
            "downscale_delay_s": 600 / _SPEEDUP,
            "downscale_to_zero_delay_s": 10,
        }
    application["deployments"] = [
        {"name": "Scorer", "autoscaling_config": scaling, "ray_actor_options": {"num_cpus": 0.2}}
    ]
    return config


def arrival_times(trace: str, settings: LiveSettings) -> list[float]:
    """Times of requests in seconds from the start: a Poisson process with the trace's rate."""
    rates = make_trace(trace, settings.seed, settings.length_s).rates
    rng = np.random.default_rng(settings.seed)
    counts = rng.poisson(rates * settings.peak_replicas * settings.tokens_per_s / _REQUEST_TOKENS)
    seconds = np.repeat(np.arange(len(counts)), counts)
    times: list[float] = np.sort(seconds + rng.uniform(size=len(seconds))).tolist()
    return times


def _drive(trace: str, policy: str, settings: LiveSettings) -> dict[str, Any]:
    """What one run of `driver.py` observed. Raises Unavailable with the end of its stderr."""
    (request,) = sample_requests(1, _DOCUMENTS, settings.seed)
    port = free_port("127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="rr-") as scratch:
        output = Path(scratch, "observed.json")
        task = {
            "config": graph_config(trace, policy, settings, port),
            "url": f"http://127.0.0.1:{port}",
            "body": {"query": request.query, "documents": [passage.text for passage in request.passages]},
            "times": arrival_times(trace, settings),
            "length_s": settings.length_s,
            "scratch": scratch,
            "output": str(output),
        }
        try:
            done = subprocess.run(
                [sys.executable, "-m", "cluster.bench.autoscale.driver"],
                input=json.dumps(task),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S + settings.length_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"the live run took more than {_TIMEOUT_S + settings.length_s} s") from None
        if done.returncode or not output.exists():
            raise Unavailable(f"the live run exited with code {done.returncode}: {done.stderr.strip()[-1500:]}")
        observed: dict[str, Any] = json.loads(output.read_bytes())
        return observed


def _row(trace: str, policy: str, observed: dict[str, Any]) -> dict[str, Any]:
    """refused: requests with a 429; failed: all others without a 200. replicas: of `driver`."""
    answers = observed["answers"]
    good = [answer["seconds"] for answer in answers if answer["status"] == 200]
    refused = sum(answer["status"] == 429 for answer in answers)
    times, _, paid = (np.array(column, dtype=float) for column in zip(*observed["replicas"], strict=True))
    return {
        "trace": trace,
        "policy": policy,
        "requests": len(answers),
        "refused": refused,
        "failed": len(answers) - len(good) - refused,
        "latency_p50_s": float(np.quantile(good, 0.5)) if good else float("nan"),
        "latency_p95_s": float(np.quantile(good, 0.95)) if good else float("nan"),
        "replica_s": float((np.diff(times) * paid[:-1]).sum()),
        "most_replicas": int(paid.max()),
        "least_replicas": int(paid.min()),
        "flaps": flaps(paid),
        "replicas": observed["replicas"],
        "problems": observed["problems"],
    }
