"""The report's figures of the engine: seconds of warm units, without duplicates, and the largest scorer's memory."""

from dataclasses import replace

from cluster.batch.report import Clock, this_run
from cluster.batch.scored import Counts, ScoredUnit, Seconds
from cluster.batch.stages.peak_memory import peak_bytes
from tests.cluster.batch.outputs import scored_unit


def unit(number: int, worker: str, score_s: float, peak: int) -> ScoredUnit:
    """Ten candidates, of which eight are left after deduplicating."""
    counts = Counts(queries=1, pairs=10, scored=8)
    return replace(
        scored_unit(number), worker=worker, counts=counts, seconds=Seconds(1.0, 1.0, score_s), peak_bytes=peak
    )


def clock_of(units: list[ScoredUnit]) -> Clock:
    clock = Clock()
    for scored in units:
        clock.add(scored, 0.0)
    return clock


def test_engine_time_is_that_of_each_scorer_s_units_after_its_first() -> None:
    units = [unit(0, "a", 9.0, 5), unit(1, "b", 7.0, 8), unit(2, "a", 2.0, 6), unit(3, "b", 3.0, 7)]
    engine = this_run(clock_of(units), 2)["engine"]
    assert engine == {"pairs": 16, "seconds": 5.0, "warm": True, "device": "cpu", "peak_bytes": 8}


def test_engine_time_of_a_job_of_one_unit_is_that_unit_s_and_said_not_to_be_warm() -> None:
    engine = this_run(clock_of([unit(0, "a", 9.0, 5)]), 1)["engine"]
    assert engine == {"pairs": 8, "seconds": 9.0, "warm": False, "device": "cpu", "peak_bytes": 5}


def test_run_that_scored_nothing_has_no_engine_time() -> None:
    engine = this_run(Clock(), 0)["engine"]
    assert engine == {"pairs": 0, "seconds": 0.0, "warm": False, "device": None, "peak_bytes": 0}


def test_peak_memory_of_a_process_grows_with_what_it_holds() -> None:
    before = peak_bytes("cpu")
    held = b"x" * 2**28
    assert peak_bytes("cpu") >= max(before, len(held))
