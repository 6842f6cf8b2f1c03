"""Measures against values computed by hand, and runs and qrels that do not cover each other."""

import math

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reranker.ir.measures import (
    DEPTHS,
    Evaluation,
    differences,
    evaluate,
    gains,
    mean_difference,
    ndcg_by_depth,
)

QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"d": 1}, "q3": {"e": 1}}
RUN = {"q1": ["b", "x", "a", "c"], "q2": ["x", "d"], "unjudged": ["a"]}
LOG3 = math.log2(3)

# q1: gains 1, 0, 2 at ranks 1 to 3; ideal order 2, 1. q2: its only relevant passage at rank 2. q3: not in the run.
BY_HAND = {
    "nDCG@10": {"q1": (1 + 2 / 2) / (2 + 1 / LOG3), "q2": 1 / LOG3, "q3": 0.0},
    "AP": {"q1": (1 / 1 + 2 / 3) / 2, "q2": 1 / 2, "q3": 0.0},
    "RR": {"q1": 1.0, "q2": 1 / 2, "q3": 0.0},
    "R@100": {"q1": 1.0, "q2": 1.0, "q3": 0.0},
}


@pytest.mark.parametrize("measure", BY_HAND)
def test_measures_equal_the_values_computed_by_hand(measure: str) -> None:
    evaluation = evaluate(QRELS, RUN)
    assert evaluation.per_query[measure] == pytest.approx(BY_HAND[measure])
    assert list(evaluation.per_query[measure]) == ["q1", "q2", "q3"]
    assert evaluation.aggregate[measure] == pytest.approx(sum(BY_HAND[measure].values()) / 3)


def test_ndcg_ignores_passages_below_its_cutoff() -> None:
    run = {"q": [f"x{n}" for n in range(15)] + ["a"]}
    evaluation = evaluate({"q": {"a": 1}}, run)
    assert evaluation.aggregate == pytest.approx(
        {"nDCG@10": 0.0, "nDCG@20": 1 / math.log2(17), "AP": 1 / 16, "RR": 1 / 16, "R@100": 1.0}
    )


def test_recall_at_100_counts_relevant_passages_in_the_first_hundred() -> None:
    """Of four relevant passages two are in the first hundred, one is at rank 101, one is not in the run."""
    qrels = {"q": {"a": 1, "b": 3, "late": 1, "lost": 1, "bad": 0}}
    run = {"q": ["bad", "a", *(f"x{n}" for n in range(97)), "b", "late"]}
    assert evaluate(qrels, run).aggregate["R@100"] == pytest.approx(2 / 4)


def test_ndcg_by_depth_equals_the_values_computed_by_hand() -> None:
    """q1: ideal gains 2, 1; the run has gain 1 at rank 1 and 2 at rank 3. q2: its only passage at rank 2."""
    ideal = 2 + 1 / LOG3
    by_depth = ndcg_by_depth(QRELS, RUN)
    assert list(by_depth) == list(DEPTHS) == [1, 3, 5, 10, 20, 50, 100]
    assert by_depth[1] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert [by_depth[depth] for depth in DEPTHS[1:]] == pytest.approx([(2 / ideal + 1 / LOG3 + 0) / 3] * 6)


def test_ndcg_by_depth_counts_a_passage_only_at_depths_that_reach_it() -> None:
    run = {"q": [f"x{n}" for n in range(30)] + ["a"]}
    by_depth = ndcg_by_depth({"q": {"a": 1}}, run)
    assert by_depth == pytest.approx(dict.fromkeys(DEPTHS, 0.0) | dict.fromkeys((50, 100), 1 / math.log2(32)))


def test_gains_are_sorted_from_largest_gain_to_largest_loss() -> None:
    """RR of q1 to q5 changes by 0, -1/2, +1/2, 0 and +1; equal changes keep the order of the qrels."""
    qrels = {f"q{n}": {"a": 1} for n in (4, 1, 2, 3, 5)}
    base = evaluate(qrels, {"q1": ["a"], "q2": ["a"], "q3": ["x", "a"]})
    other = evaluate(qrels, {"q1": ["a"], "q2": ["x", "a"], "q3": ["a"], "q5": ["a"]})
    by_query = gains(base, other, "RR")
    assert [gain.query_id for gain in by_query] == ["q5", "q3", "q4", "q1", "q2"]
    assert [gain.value for gain in by_query] == [1.0, 0.5, 0.0, 0.0, -0.5]
    assert [(gain.base, gain.other) for gain in by_query] == [(0, 1), (0.5, 1), (0, 0), (1, 1), (1, 0.5)]


def test_gain_within_rounding_error_is_zero() -> None:
    qrels = {"q": {"a": 1}}
    base, other = (evaluate(qrels, {"q": ["a"]}) for _ in range(2))
    other.per_query["RR"]["q"] -= 1e-12
    (gain,) = gains(base, other, "RR")
    assert gain.value == 0


def test_measures_depend_on_the_runs_order_and_not_on_docids() -> None:
    """Tools that break ties of equal scores by docid would call these two runs equal."""
    qrels = {"q": {"b": 1}}
    assert evaluate(qrels, {"q": ["b", "a", "c"]}).aggregate["RR"] == 1
    assert evaluate(qrels, {"q": ["c", "a", "b"]}).aggregate["RR"] == pytest.approx(1 / 3)


def test_run_without_judged_queries_scores_zero() -> None:
    evaluation = evaluate(QRELS, {"other": ["a"]})
    assert set(evaluation.aggregate.values()) == {0.0}
    assert evaluation.per_query["RR"] == {"q1": 0.0, "q2": 0.0, "q3": 0.0}


def test_grades_below_one_do_not_count_as_relevant() -> None:
    evaluation = evaluate({"q": {"spam": -2, "bad": 0, "good": 1}}, {"q": ["spam", "bad", "good"]})
    assert evaluation.aggregate["AP"] == evaluation.aggregate["RR"] == pytest.approx(1 / 3)
    assert evaluation.aggregate["nDCG@10"] == pytest.approx(1 / 2)


GRADES = st.dictionaries(st.sampled_from("abcdef"), st.integers(-1, 3), min_size=1)


@given(grades=GRADES, docids=st.permutations("abcdefg"))
def test_grade_below_zero_gains_what_zero_gains(grades: dict[str, int], docids: list[str]) -> None:
    """Against pytrec_eval on the grades as they are, which it can read while one is above -2."""
    names = {
        "nDCG@10": "ndcg_cut_10",
        "nDCG@20": "ndcg_cut_20",
        "AP": "map",
        "RR": "recip_rank",
        "R@100": "recall_100",
    }
    run = {docid: float(-rank) for rank, docid in enumerate(docids)}
    theirs = pytrec_eval.RelevanceEvaluator({"q": grades}, set(names.values())).evaluate({"q": run})["q"]
    ours = evaluate({"q": grades}, {"q": list(docids)}).aggregate
    assert ours == pytest.approx({name: theirs[their_name] for name, their_name in names.items()}, abs=1e-12)


def test_query_with_grades_far_below_zero_alone_scores_zero() -> None:
    """pytrec_eval reads outside its memory for it."""
    evaluation = evaluate({"q": {"a": -3, "b": -2}, "p": {"a": 1}}, {"q": ["a", "b"], "p": ["a"]})
    assert evaluation.per_query["nDCG@10"] == {"q": 0.0, "p": 1.0}


def test_equal_runs_have_no_difference_and_p_value_one() -> None:
    same = evaluate(QRELS, RUN)
    (against,) = differences(same, [evaluate(QRELS, RUN)])
    assert set(against) == set(same.aggregate)
    assert all((value.mean, value.p_value) == (0.0, 1.0) for value in against.values())


def test_p_value_equals_that_of_a_paired_t_test() -> None:
    """Differences in RR of 1/2, 1/2, 0, 0: t = mean / (sd / 2) = sqrt(3), three degrees of freedom."""
    qrels = {f"q{n}": {"a": 1} for n in range(4)}
    base = evaluate(qrels, {query_id: ["x", "a"] for query_id in qrels})
    other = evaluate(qrels, {"q0": ["a"], "q1": ["a"], "q2": ["x", "a"], "q3": ["x", "a"]})
    (against,) = differences(base, [other])
    t = math.sqrt(3)
    # The two-sided tail of Student's t with 3 degrees of freedom, in closed form.
    p = 1 - 2 / math.pi * (math.atan(t / math.sqrt(3)) + t * math.sqrt(3) / (t**2 + 3))
    assert against["RR"].mean == pytest.approx(0.25)
    assert against["RR"].p_value == pytest.approx(p)


def test_p_value_is_nan_when_every_query_differs_by_the_same_amount() -> None:
    """Also when the differences are equal up to rounding: RR rises by 1/2 - 1/3 or by 1/3 - 1/6."""
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    base = evaluate(qrels, {"q1": ["x", "y", "a"], "q2": ["x", "y", "z", "v", "w", "a"]})
    other = evaluate(qrels, {"q1": ["x", "a"], "q2": ["x", "y", "a"]})
    (against,) = differences(base, [other])
    assert against["RR"].mean == pytest.approx(1 / 6)
    assert math.isnan(against["RR"].p_value)
    (one_query,) = differences(evaluate({"q1": {"a": 1}}, {"q1": ["x", "a"]}), [evaluate({"q1": {"a": 1}}, RUN)])
    assert math.isnan(one_query["RR"].p_value)


VALUES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8)


def stratum(values: list[tuple[float, float]]) -> tuple[Evaluation, Evaluation]:
    """(base, other) with these values of one measure for each query."""
    sides = zip(*values, strict=True)
    base, other = (Evaluation({"AP": {f"q{n}": value for n, value in enumerate(side)}}, {}) for side in sides)
    return base, other


@given(values=VALUES)
def test_mean_difference_over_one_collection_is_that_of_the_paired_t_test(values: list[tuple[float, float]]) -> None:
    base, other = stratum(values)
    (expected,) = differences(base, [other])
    found = mean_difference([(base, other)], "AP")
    assert found.mean == pytest.approx(expected["AP"].mean)
    assert found.p_value == pytest.approx(expected["AP"].p_value, nan_ok=True, rel=1e-6, abs=1e-12)


def test_mean_difference_gives_collections_of_any_size_the_same_weight() -> None:
    """Differences 0 and 0.2 in one collection, -0.1 and 0.1 ten times in the other.

    Variances of the means: 0.02 / 2, and 20 * 0.01 / 19 / 20. t = 0.1 / sqrt(0.01 + 0.2 / 380).
    """
    strata = [stratum([(0.5, 0.5), (0.5, 0.7)]), stratum([(0.5, 0.4), (0.5, 0.6)] * 10)]
    found = mean_difference(strata, "AP")
    small, large = 0.01, 0.2 / 380
    freedom = (small + large) ** 2 / (small**2 + large**2 / 19)
    assert found.mean == pytest.approx(0.05)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.1 / math.sqrt(small + large), freedom))


def test_mean_difference_without_variance_has_p_value_one_if_it_is_zero_and_none_otherwise() -> None:
    equal, shifted = stratum([(0.5, 0.5), (0.2, 0.2)]), stratum([(0.5, 0.6), (0.2, 0.3)])
    assert mean_difference([equal, equal], "AP").p_value == 1
    assert math.isnan(mean_difference([equal, shifted], "AP").p_value)
    assert math.isnan(mean_difference([stratum([(0.5, 0.6)]), stratum([(0.5, 0.6), (0.2, 0.1)])], "AP").p_value)
