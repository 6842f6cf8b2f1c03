"""Far more load than can be done: is what is done still useful, and is the rest told the truth?"""

from __future__ import annotations

from cluster.bench.http import figures, runs
from cluster.bench.http.arrivals import poisson
from cluster.bench.http.context import Bench, Outcome
from cluster.bench.http.records import Row


def overload(bench: Bench) -> Outcome:
    """Far more than can be done: is what is done still useful, and is the rest told the truth?"""
    settings, rows = bench.settings, dict[str, list[Row]]()
    seconds, contenders = settings.seconds_of("overload"), []
    for target in bench.targets:
        maximum = bench.unloaded_maximum(target)
        rate = settings.rate or settings.factor * maximum / bench.mix.mean_documents
        bench.console.print(f"overload: {target.name}, {rate:.1f} requests/s for {seconds:.0f} s")
        arrivals = poisson(rate, seconds, bench.mix, settings.seed)
        run = runs.run_arrivals(target, bench.texts, arrivals, settings.timeout_s, settings.keys)
        rows[target.name] = run.rows
        good = figures.goodput(run.rows, settings.in_time_s, seconds)
        contenders.append(
            {
                "name": target.name,
                "unloaded_docs_per_s": maximum,
                "offered_docs_per_s": sum(row.documents for row in run.rows) / seconds,
                "goodput_docs_per_s": good,
                "goodput_share": good / maximum,
                "accepted": figures.spread(figures.latencies(run.rows)),
                "refused": figures.refusals(run.rows),
                "statuses": figures.statuses(run.rows),
                "client_lag": figures.lag(run.rows),
                "client_cpu_s_a_request": run.client_cpu_s,
            }
        )
    told = {"seconds": seconds, "factor": settings.factor, "mix": str(bench.mix), "in_time_s": settings.in_time_s}
    return Outcome({"contenders": contenders, **told}, rows)
