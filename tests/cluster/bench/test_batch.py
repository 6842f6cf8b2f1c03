"""The batch benchmark: what it refuses, and its figures of memory."""

from cluster.bench.batch.memory import Memory, summarize
from tests.cluster.conftest import Shell


def test_throughput_of_a_single_unit_is_refused_before_the_model_is_loaded(shell: Shell) -> None:
    code, out, err = shell("bench", "batch", "--depth", "10", "--rows", "", "--scorers", "", "-m", "embedded")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "reranker: --depth: the first 500 pairs only warm up, and there are 400: choose a larger --depth, or a "
        "--collection with more candidates"
    )
    assert "Traceback" not in err


def test_steady_memory_is_the_median_of_the_second_half() -> None:
    samples = [{"driver": 9.0}, {"driver": 1.0, "scorer": 5.0}, {"driver": 2.0, "scorer": 7.0}, {"driver": 3.0}]
    assert summarize(samples) == Memory(steady={"driver": 3, "scorer": 7}, peak={"driver": 9, "scorer": 7})


def test_sizes_that_are_no_positive_integers_are_refused(shell: Shell) -> None:
    code, _, err = shell("bench", "batch", "--rows", "10,none")
    assert (code, err) == (2, "reranker: --rows: got '10,none': give integers above 0, separated by commas\n")
