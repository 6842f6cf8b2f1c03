"""Which queries and candidates a step reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.errors import InvalidField
from reranker.pairs import offsets
from reranker.training.groups import Groups, padded, queries_of_step, sample, usable_queries
from reranker.training.settings import TeacherSettings
from reranker.training.teacher import targets

sizes = st.lists(st.integers(0, 6), min_size=1, max_size=8)


def groups_of(counts: list[int], teacher: bool = False, seed: int = 0) -> Groups:
    random = np.random.default_rng(seed)
    total = sum(counts)
    return Groups(
        offsets(np.array(counts)),
        np.arange(total, dtype=np.int32),
        random.integers(0, 2, total).astype(np.float32),
        random.normal(size=total).astype(np.float32) if teacher else None,
    )


@given(counts=sizes, seed=st.integers(0, 5), teacher=st.booleans())
def test_usable_queries_are_those_that_a_loss_can_learn_from(counts: list[int], seed: int, teacher: bool) -> None:
    groups = groups_of(counts, teacher, seed)
    expected = []
    for query, count in enumerate(counts):
        labels = groups.labels[groups.candidates_of(query)]
        if count > 1 and (teacher or 0 < (labels > 0).sum() < count):
            expected.append(query)
    assert usable_queries(groups).tolist() == expected


@given(queries=st.integers(1, 30), per_step=st.integers(1, 12), steps=st.integers(1, 12), seed=st.integers(0, 3))
def test_steps_read_every_query_once_an_epoch(queries: int, per_step: int, steps: int, seed: int) -> None:
    all_queries = np.arange(100, 100 + queries)
    read = np.concatenate([queries_of_step(all_queries, step, per_step, seed) for step in range(steps)])
    for start in range(0, len(read) - queries + 1, queries):
        assert sorted(read[start : start + queries]) == all_queries.tolist()


def test_order_differs_between_epochs_and_seeds() -> None:
    queries = np.arange(50)
    orders = {tuple(queries_of_step(queries, step, 50, seed)) for step in (0, 1) for seed in (0, 1)}
    assert len(orders) == 4


@given(
    counts=st.lists(st.integers(2, 8), min_size=1, max_size=4), negatives=st.integers(1, 5), step=st.integers(0, 4)
)
def test_sample_has_one_positive_and_at_most_so_many_others(counts: list[int], negatives: int, step: int) -> None:
    groups = groups_of(counts, teacher=True)
    for query in range(len(counts)):
        span = groups.candidates_of(query)
        group = sample(groups, query, negatives, (7, step))
        again = sample(groups, query, negatives, (7, step))
        np.testing.assert_array_equal(group.passages, again.passages)
        positives = int((groups.labels[span] > 0).sum())
        assert (group.labels > 0).sum() == min(positives, 1)
        assert (group.labels <= 0).sum() == min(negatives, counts[query] - positives)
        assert len(set(group.passages.tolist())) == len(group.passages)
        # labels and teacher scores stay with their passages
        np.testing.assert_array_equal(group.labels, groups.labels[group.passages])
        assert groups.teacher is not None
        np.testing.assert_array_equal(group.teacher, groups.teacher[group.passages])


def test_sample_leaves_out_likely_false_negatives_and_candidates_without_a_teacher() -> None:
    groups = Groups(
        np.array([0, 5]),
        np.arange(5, dtype=np.int32),
        np.array([1, 0, 0, 0, 0], dtype=np.float32),
        np.array([5.0, 4.5, 6.0, 1.0, np.nan], dtype=np.float32),
    )
    kept = sample(groups, 0, 10, (0,), false_negative_margin=1.0)
    assert sorted(kept.passages.tolist()) == [0, 3]
    assert sorted(sample(groups, 0, 10, (0,)).passages.tolist()) == [0, 1, 2, 3]


def test_targets_are_normalised_per_query_and_weighted() -> None:
    groups = Groups(np.array([0, 3, 3, 5]), np.arange(5, dtype=np.int32), np.array([1, 0, 0, 0, 1], dtype=np.float32))
    scores = {
        "a": np.array([3.0, 2.0, 1.0, 7.0, 7.0], dtype=np.float32),
        "first_stage": np.array([8.0, np.nan, 4.0, np.nan, 2.0], dtype=np.float32),
    }
    result = targets(groups, scores, TeacherSettings(weights={"a": 1.0}, normalise="zscore", scale=2.0))
    deviation = np.sqrt(2 / 3)
    np.testing.assert_allclose(result, [2 / deviation, 0, -2 / deviation, 0, 0], rtol=1e-6)
    by_best = TeacherSettings(weights={"a": 1.0, "first_stage": 0.5}, normalise="max", positive_bonus=10)
    np.testing.assert_allclose(
        targets(groups, scores, by_best), [1 + 0.5 + 10, 2 / 3 + 0.25, 1 / 3 + 0.25, 1 + 0.5, 1 + 0.5 + 10], rtol=1e-6
    )


def test_targets_keep_what_a_teacher_did_not_score_apart() -> None:
    groups = Groups(np.array([0, 3]), np.arange(3, dtype=np.int32), np.zeros(3, dtype=np.float32))
    scores = {"a": np.array([3.0, np.nan, 1.0], dtype=np.float32)}
    for how in ("none", "zscore", "max"):
        result = targets(groups, scores, TeacherSettings(weights={"a": 1.0}, normalise=how))  # type: ignore[arg-type]
        assert np.isnan(result).tolist() == [False, True, False]
    with pytest.raises(InvalidField, match="no teacher 'b': there are a"):
        targets(groups, scores, TeacherSettings(weights={"b": 1.0}))


def test_padded_marks_what_is_real() -> None:
    values, real = padded([np.array([1.0, 2.0], dtype=np.float32), np.array([3.0], dtype=np.float32)])
    assert values.tolist() == [[1.0, 2.0], [3.0, 0.0]]
    assert real.tolist() == [[True, True], [True, False]]
