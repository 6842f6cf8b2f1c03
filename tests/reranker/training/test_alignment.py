"""A teacher's scores must be those of the candidates that the student reads.

The published training code of DeAR draws negatives at random for the student and again for the teacher's scores, so
that all but the positive's belong to other passages. Here the teacher is known, and both ways train the same student.
`python -m pytest -m slow -s tests/reranker/training/test_alignment.py` prints the figures.
"""

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModelForSequenceClassification, BertConfig

from reranker.layout import PairLayout
from reranker.pairs import EncodedPairs, FloatArray, IntArray, offsets
from reranker.training.batches import EncodedGroup
from reranker.training.groups import Groups, SampledGroup, queries_of_step, sample
from reranker.training.packed import PackedStudent
from reranker.training.settings import LossSettings, StepSettings
from reranker.training.trainer import Trainer

LAYOUT = PairLayout(head=(2,), middle=(3,), tail=(3,), prefix_type=0, passage_type=1, middle_passage_typed=0)
FIRST_TOKEN, TOKENS, PASSAGE_TOKENS = 5, 200, 12
QUERIES, HELD, CANDIDATES, NEGATIVES = 200, 50, 30, 7
STEPS = 200


class World:
    """Passages of random tokens. The teacher's score is the sum of its tokens' hidden weights, deviation 2; a query's
    label says no more than which of its candidates is best.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        worth = random.normal(size=TOKENS + FIRST_TOKEN) * 2 / np.sqrt(PASSAGE_TOKENS)
        count = (QUERIES + HELD) * CANDIDATES
        self.passages = random.integers(FIRST_TOKEN, FIRST_TOKEN + TOKENS, (count, PASSAGE_TOKENS), dtype=np.int32)
        self.queries = random.integers(FIRST_TOKEN, FIRST_TOKEN + TOKENS, (QUERIES + HELD, 3), dtype=np.int32)
        self.teacher = worth[self.passages].sum(1).astype(np.float32)
        by_query = self.teacher.reshape(-1, CANDIDATES)
        labels = (by_query == by_query.max(1, keepdims=True)).astype(np.float32).reshape(-1)
        self.groups = Groups(
            offsets(np.full(QUERIES + HELD, CANDIDATES)), np.arange(count, dtype=np.int32), labels, self.teacher
        )

    def pairs(self, query: int, passages: IntArray) -> EncodedPairs:
        count = len(passages)
        return EncodedPairs(
            prefix_ids=np.concatenate(([2], self.queries[query], [3])).astype(np.int32),
            prefix_offsets=offsets(np.array([5])),
            prefix_of=np.zeros(count, dtype=np.int32),
            passage_ids=np.column_stack((self.passages[passages], np.full(count, 3))).astype(np.int32).reshape(-1),
            passage_offsets=offsets(np.full(count, PASSAGE_TOKENS + 1)),
            candidate_of=np.arange(count, dtype=np.int32),
            truncated=np.zeros(count, dtype=bool),
        )


def misaligned(groups: Groups, drawn: SampledGroup, seed: tuple[int, ...]) -> SampledGroup:
    """The teacher's scores of another draw: right for the positive, which comes first, and of other negatives."""
    other = sample(groups, drawn.query, NEGATIVES, seed)
    return replace(drawn, teacher=other.teacher)


def agreement(world: World, seed: int, *, aligned: bool) -> tuple[float, float]:
    """Kendall's tau and nDCG@10 with the teacher on held queries, after training with RankNet + 0.1 KL."""
    config = BertConfig(
        vocab_size=FIRST_TOKEN + TOKENS,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    torch.manual_seed(seed)
    step = StepSettings(queries_per_step=8, learning_rate=3e-3, warmup_steps=10)
    trainer = Trainer(
        PackedStudent(AutoModelForSequenceClassification.from_config(config), LAYOUT),
        step,
        LossSettings(),
        STEPS,
        device=torch.device("cpu"),
    )
    for number in range(STEPS):
        drawn = [
            sample(world.groups, int(query), NEGATIVES, (seed, number))
            for query in queries_of_step(np.arange(QUERIES), number, step.queries_per_step, seed)
        ]
        if not aligned:
            drawn = [misaligned(world.groups, group, (seed, number, 1)) for group in drawn]
        trainer.train_step([EncodedGroup(world.pairs(g.query, g.passages), g.labels, g.teacher) for g in drawn])
    held = range(QUERIES, QUERIES + HELD)
    spans = [np.arange(query * CANDIDATES, (query + 1) * CANDIDATES, dtype=np.int32) for query in held]
    scores = trainer.score([world.pairs(query, span) for query, span in zip(held, spans, strict=True)])
    truths = [world.teacher[span] for span in spans]
    taus = [float(stats.kendalltau(ours, truth).statistic) for ours, truth in zip(scores, truths, strict=True)]
    return fmean(taus), fmean(ndcg(ours, truth) for ours, truth in zip(scores, truths, strict=True))


def ndcg(scores: FloatArray, truth: FloatArray) -> float:
    """nDCG@10; a passage that the teacher puts above 0 gains its score."""
    gains, discounts = np.maximum(truth, 0), 1 / np.log2(np.arange(2, 12))
    return float((gains[np.argsort(-scores)[:10]] @ discounts) / (np.sort(gains)[::-1][:10] @ discounts))


@pytest.mark.slow
def test_an_aligned_teacher_beats_the_scores_of_another_draw() -> None:
    for seed in range(3):
        world = World(seed)
        right = agreement(world, seed, aligned=True)
        wrong = agreement(world, seed, aligned=False)
        print(f"\nseed {seed}: tau, nDCG@10 aligned {right[0]:.3f} {right[1]:.3f}", end="")
        print(f", misaligned {wrong[0]:.3f} {wrong[1]:.3f}")
        assert right[0] > wrong[0]
        assert right[1] > wrong[1]
