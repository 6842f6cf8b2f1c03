"""The groups of each step, encoded ahead of the device."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from cluster.training.data.training_set import TrainingSet
from reranker.errors import TrainingFailed
from reranker.pair_encoder import PairEncoder
from reranker.pairs import IntArray
from reranker.training.batches import EncodedGroup, encode_group
from reranker.training.groups import Groups, queries_of_step, sample, usable_queries
from reranker.training.settings import TrainingSettings

_STEPS_AHEAD = 4
_CACHED_TOKENS = 200_000_000  # 800 MB: the passages of a small corpus are tokenized once


class Sampler:
    """Encoded groups of any step, for one worker. groups: with the teacher's targets."""

    def __init__(
        self,
        settings: TrainingSettings,
        data: TrainingSet,
        groups: Groups,
        encoder: PairEncoder,
        rank: int,
        workers: int,
    ) -> None:
        self._settings, self._data, self._groups, self._encoder = settings, data, groups, encoder
        self._rank, self._workers = rank, workers
        self._tokens_of: dict[int, IntArray] = {}
        self._room = _CACHED_TOKENS
        self._queries = usable_queries(groups)
        if not len(self._queries):
            raise TrainingFailed(f"{settings.data} has no query with a positive and another candidate")
        per_step = settings.step.queries_per_step
        if per_step < workers:
            raise TrainingFailed(f"step.queries_per_step {per_step} cannot be shared by {workers} workers")
        self.steps = settings.step.steps or max(1, round(settings.step.epochs * len(self._queries) / per_step))

    def groups_of(self, step: int) -> list[EncodedGroup]:
        """This worker's groups of the step that follows `step` others."""
        settings = self._settings.step
        queries = queries_of_step(self._queries, step, settings.queries_per_step, settings.seed)
        margin = self._settings.teacher.false_negative_margin
        encoded = []
        for query in queries[self._rank :: self._workers].tolist():
            group = sample(self._groups, query, settings.negatives, (settings.seed, step), margin)
            encoded.append(encode_group(self._encoder, self._data.queries[query], group, self._passage_tokens))
        return encoded

    def _passage_tokens(self, positions: IntArray) -> list[IntArray]:
        missing = [position for position in positions.tolist() if position not in self._tokens_of]
        fresh: dict[int, IntArray] = {}
        if missing:
            passages = [self._data.passage(position) for position in missing]
            fresh = dict(zip(missing, self._encoder.tokenize_passages(passages), strict=True))
            if self._room > 0:
                # What no pair can hold need not be kept; one token more shows that it was cut.
                kept = {position: ids[: self._encoder.max_pair_tokens + 1].copy() for position, ids in fresh.items()}
                self._room -= sum(map(len, kept.values()))
                self._tokens_of.update(kept)
        return [fresh[p] if p in fresh else self._tokens_of[p] for p in positions.tolist()]


def steps_ahead(sampler: Sampler, first: int, threads: int = 2) -> Iterator[list[EncodedGroup]]:
    """Groups of the steps from `first` on, in order, encoded by threads while the device is busy."""
    with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
        waiting: list[Future[list[EncodedGroup]]] = []
        for step in range(first, sampler.steps):
            waiting.append(pool.submit(sampler.groups_of, step))
            if len(waiting) > _STEPS_AHEAD:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()
