"""Minutes of steady load below the maximum: does memory stay flat, and latency?"""

from __future__ import annotations

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import poisson
from cluster.bench.http.context import Bench, Outcome
from cluster.bench.http.records import Row
from cluster.bench.http.roles import MemorySamples


def soak(bench: Bench) -> Outcome:
    """Minutes of steady load below the maximum: does memory stay flat, and latency?"""
    settings, rows = bench.settings, dict[str, list[Row]]()
    seconds, contenders = settings.seconds_of("soak"), []
    for target in bench.targets:
        rate = settings.rate or (settings.soak_share * bench.unloaded_maximum(target) / bench.mix.mean_documents)
        bench.console.print(f"soak: {target.name}, {rate:.2f} requests/s for {seconds / 60:.1f} minutes")
        arrivals = poisson(rate, seconds, bench.mix, settings.seed)
        samples = MemorySamples(target.process, min(5.0, seconds / 20)) if target.process else None
        if samples:
            samples.start()
        try:
            run = runs.run_arrivals(target, bench.texts, arrivals, settings.timeout_s, settings.keys)
        finally:
            if samples:
                samples.stop()
        rows[target.name] = run.rows
        series = samples.series() if samples else {}
        minutes = samples.minutes if samples else []
        contenders.append(
            {
                "name": target.name,
                "latency": figures.spread(figures.latencies(run.rows)),
                "statuses": figures.statuses(run.rows),
                "client_lag": figures.lag(run.rows),
                "minutes": minutes,
                "memory_bytes": series,
                "drift": {role: figures.drift(minutes, values) for role, values in series.items()},
            }
        )
    return Outcome({"contenders": contenders, "seconds": seconds, "mix": str(bench.mix)}, rows)
