"""The token-budget queue: every pair in exactly one batch, budgets kept, and a fair share for every request."""

import weakref

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reranker.pairs import EncodedPairs, FloatArray, offsets
from reranker.scheduling.queue import CLIENT_HEAD_START_BATCHES, Job, TokenBudgetQueue
from reranker.types import RequestContext

BUDGET = 100


def pairs_of(lengths: list[int], first: int = 0) -> EncodedPairs:
    """Pairs of these lengths; the passage of pair n starts with the token `first + n`, which identifies it."""
    count = len(lengths)
    ids = [[first + n] + [0] * (length - 2) for n, length in enumerate(lengths)]
    return EncodedPairs(
        prefix_ids=np.array([5], dtype=np.int32),
        prefix_offsets=offsets(np.array([1])),
        prefix_of=np.zeros(count, dtype=np.int32),
        passage_ids=np.array([token for part in ids for token in part], dtype=np.int32),
        passage_offsets=offsets(np.array([length - 1 for length in lengths], dtype=np.int64)),
        candidate_of=np.arange(count, dtype=np.int32),
        truncated=np.zeros(count, dtype=bool),
    )


def marks(pairs: EncodedPairs) -> FloatArray:
    """The identifying token of each pair, as its logit."""
    return pairs.passage_ids[pairs.passage_offsets[:-1]].astype(np.float32)


def context_of(request: str, client: str = "", priority: int = 0) -> RequestContext:
    return RequestContext(request, client, priority)


def drain(queue: TokenBudgetQueue) -> list[list[Job]]:
    """Score everything; returns the jobs that each batch finished."""
    finished = []
    while batch := queue.next_batch():
        finished.append(queue.complete(batch, marks(batch.pairs)))
    return finished


LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=30)


class QueueMachine(RuleBasedStateMachine):
    """Any interleaving of put, next_batch, complete and cancel against a model that only counts tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TokenBudgetQueue(BUDGET)
        self.jobs: list[tuple[Job, list[int], int]] = []
        self.batches: list = []
        self.waiting: dict[int, int] = {}  # mark of a pair -> its length
        self.next_mark = 0

    @rule(
        request=st.sampled_from("abc"),
        client=st.sampled_from("de"),
        priority=st.integers(0, 3),
        lengths=st.lists(st.integers(2, 120), max_size=12),
    )
    def put(self, request: str, client: str, priority: int, lengths: list[int]) -> None:
        job = self.queue.put(context_of(request, client, priority), pairs_of(lengths, self.next_mark))
        self.jobs.append((job, lengths, self.next_mark))
        self.waiting |= {self.next_mark + n: length for n, length in enumerate(lengths)}
        self.next_mark += len(lengths)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.jobs:
            job, lengths, first = data.draw(st.sampled_from(self.jobs))
            self.queue.cancel(job)
            for mark in range(first, first + len(lengths)):
                self.waiting.pop(mark, None)

    @rule()
    def next_batch(self) -> None:
        batch = self.queue.next_batch()
        if batch is None:
            assert not self.waiting
            return
        taken = marks(batch.pairs).astype(int).tolist()
        assert taken
        assert sum(self.waiting[mark] for mark in taken) <= BUDGET or len(taken) == 1
        for mark in taken:
            del self.waiting[mark]  # KeyError: handed out twice, or after its job was cancelled
        self.batches.append(batch)

    @rule()
    def complete(self) -> None:
        if self.batches:
            batch = self.batches.pop(0)
            for job in self.queue.complete(batch, marks(batch.pairs)):
                lengths, first = next((lengths, first) for known, lengths, first in self.jobs if known is job)
                assert job.logits.tolist() == list(range(first, first + len(lengths)))

    @invariant()
    def backlog_is_exact(self) -> None:
        assert self.queue.backlog_tokens == sum(self.waiting.values())


TestQueueMachine = QueueMachine.TestCase


@given(small=LENGTHS, others=st.lists(LENGTHS, min_size=1, max_size=4))
def test_small_request_finishes_after_its_fair_share_of_the_tokens(small: list[int], others: list[list[int]]) -> None:
    """Among k requests: after at most k times its own tokens, plus one pair per rival and one batch."""
    queue = TokenBudgetQueue(BUDGET)
    for number, lengths in enumerate(others):
        queue.put(context_of(f"other {number}"), pairs_of(lengths * 20))
    job = queue.put(context_of("small"), pairs_of(small))

    computed = 0
    while batch := queue.next_batch():
        computed += int(batch.pairs.lengths.sum())
        if job in queue.complete(batch, marks(batch.pairs)):
            break

    own, rivals, longest = sum(small), len(others), 60
    assert computed <= own + rivals * (own + longest) + BUDGET


@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=CLIENT_HEAD_START_BATCHES * BUDGET // 60),
    floods=st.integers(1, 5),
)
def test_client_that_comes_now_and_then_waits_little_for_one_that_never_stops(
    lengths: list[int], floods: int
) -> None:
    """Its own tokens and a quarter of them, plus a pair of the rival and two batches; also when it comes again."""
    queue = TokenBudgetQueue(BUDGET)
    for number in range(floods):
        queue.put(context_of(f"flood {number}", "flood"), pairs_of([50] * 200))
    for _ in range(CLIENT_HEAD_START_BATCHES + 1):
        queue.next_batch()
    for visit in range(2):
        job, computed = queue.put(context_of(f"visit {visit}", "light"), pairs_of(lengths)), 0
        while job.unscored:
            batch = queue.next_batch()
            computed += int(batch.pairs.lengths.sum())
            queue.complete(batch, marks(batch.pairs))
        assert computed <= 1.25 * sum(lengths) + 50 + 2 * BUDGET
        for _ in range(CLIENT_HEAD_START_BATCHES + 1):
            queue.next_batch()


def test_longest_pairs_of_a_request_go_first_with_ties_in_input_order_and_fill_the_budget() -> None:
    queue = TokenBudgetQueue(BUDGET)
    queue.put(context_of("one"), pairs_of([10, 50, 30, 50, 20, 10]))
    batches = []
    while batch := queue.next_batch():
        batches.append(marks(batch.pairs).tolist())
    assert batches == [[1, 3], [2, 4, 0, 5]]


def test_queue_keeps_nothing_of_requests_and_clients_without_work() -> None:
    class Name(str):
        """A str that weak references can point to."""

    queue, names = TokenBudgetQueue(BUDGET), [Name("request"), Name("client"), Name("cancelled")]
    queue.put(context_of(names[0], names[1]), pairs_of([50, 60]))
    queue.cancel(queue.put(context_of(names[2], names[1]), pairs_of([50, 60])))
    drain(queue)
    known = [weakref.ref(name) for name in names]
    names.clear()
    assert [reference() for reference in known] == [None] * 3


def test_late_request_is_in_the_next_batch_despite_a_long_queue() -> None:
    queue = TokenBudgetQueue(BUDGET)
    queue.put(context_of("large"), pairs_of([50] * 1000))
    for _ in range(10):
        queue.next_batch()
    late = queue.put(context_of("late"), pairs_of([50]))
    assert any(job is late for job, _ in queue.next_batch().parts)


def test_large_request_is_not_starved_by_a_stream_of_small_ones() -> None:
    queue = TokenBudgetQueue(BUDGET)
    large = queue.put(context_of("large"), pairs_of([50] * 10))
    for number in range(12):
        queue.put(context_of(f"small {number}"), pairs_of([50]))
        queue.complete(batch := queue.next_batch(), marks(batch.pairs))
    assert large.unscored == 0


@given(small=st.lists(st.integers(2, 20), min_size=1, max_size=5), rivals=st.integers(1, 6))
def test_request_that_fits_one_batch_gets_four_shares_among_large_requests(small: list[int], rivals: int) -> None:
    """Each rival computes at most a quarter of its tokens before it is done, plus two pairs."""
    queue = TokenBudgetQueue(BUDGET)
    for number in range(rivals):
        queue.put(context_of(f"large {number}"), pairs_of([20] * 1000))
    for _ in range(2 * rivals):
        queue.next_batch()
    job = queue.put(context_of("small"), pairs_of(small))
    computed = 0
    while job.unscored:
        batch = queue.next_batch()
        computed += int(batch.pairs.lengths.sum())
        queue.complete(batch, marks(batch.pairs))
    assert computed <= sum(small) + rivals * (sum(small) / 4 + 2 * 20) + BUDGET


def test_new_clients_that_fill_the_device_do_not_starve_a_large_request() -> None:
    queue = TokenBudgetQueue(50)
    large = queue.put(context_of("large"), pairs_of([50] * 100))
    for number in range(100):
        queue.put(context_of(f"new {number}", f"client {number}"), pairs_of([50]))
        queue.complete(batch := queue.next_batch(), marks(batch.pairs))
    assert 100 - large.unscored >= 10


def test_shards_of_one_request_share_one_fair_share() -> None:
    queue = TokenBudgetQueue(BUDGET)
    for _ in range(10):
        queue.put(context_of("many shards"), pairs_of([50] * 4))
    other = queue.put(context_of("one shard"), pairs_of([50] * 4))
    computed = next(n for n, finished in enumerate(drain(queue), 1) if other in finished)
    assert computed <= 5  # 4 batches with one pair of each request, and one to spare


@given(small=LENGTHS, requests=st.integers(1, 12))
def test_client_with_many_requests_gets_the_share_of_one_with_a_single_request(
    small: list[int], requests: int
) -> None:
    queue = TokenBudgetQueue(BUDGET)
    for number in range(requests):
        queue.put(context_of(f"request {number}", "greedy"), pairs_of(small * 20))
    job = queue.put(context_of("the only one", "modest"), pairs_of(small))
    computed = 0
    while job.unscored:
        batch = queue.next_batch()
        computed += int(batch.pairs.lengths.sum())
        queue.complete(batch, marks(batch.pairs))
    assert computed <= 2 * sum(small) + 60 + BUDGET


@given(priority=st.integers(1, 5))
def test_low_priority_request_gets_a_smaller_share_and_is_not_starved(priority: int) -> None:
    queue = TokenBudgetQueue(50)
    low = queue.put(context_of("low", priority=priority), pairs_of([50] * 100))
    high = queue.put(context_of("high"), pairs_of([50] * 100))
    while high.unscored:
        queue.complete(batch := queue.next_batch(), marks(batch.pairs))
    served = 100 - low.unscored
    assert abs(served - 100 / (1 + priority)) <= 2


@given(priority=st.integers(1, 999), served=st.integers(1, 8), same_client=st.booleans())
def test_low_priority_request_delays_no_newcomer(priority: int, served: int, same_client: bool) -> None:
    """A newcomer that fits one batch finishes as early as without the low-priority request, or one batch later."""

    def batches_until_done(*, with_low_priority: bool) -> int:
        queue = TokenBudgetQueue(BUDGET)
        queue.put(context_of("large", "client"), pairs_of([20] * 1000))
        if with_low_priority:
            queue.put(context_of("low", "client", priority), pairs_of([20] * 200))
        for _ in range(served):
            queue.next_batch()
        small = queue.put(context_of("small", "client" if same_client else "other"), pairs_of([10] * 5))
        batches = 0
        while small.unscored:
            queue.complete(batch := queue.next_batch(), marks(batch.pairs))
            batches += 1
        return batches

    assert batches_until_done(with_low_priority=True) <= batches_until_done(with_low_priority=False) + 1


@given(priorities=st.lists(st.integers(0, 9), min_size=2, max_size=4))
def test_requests_of_one_client_are_served_in_proportion_to_their_priorities(priorities: list[int]) -> None:
    queue = TokenBudgetQueue(50)
    jobs = [
        queue.put(context_of(f"request {n}", priority=p), pairs_of([10] * 2000)) for n, p in enumerate(priorities)
    ]
    while min(job.unscored for job in jobs) > 1000:
        queue.complete(batch := queue.next_batch(), marks(batch.pairs))
    served = [2000 - job.unscored for job in jobs]
    shares = [1 / (1 + priority) for priority in priorities]
    for count, share in zip(served, shares, strict=True):
        assert abs(count - max(served) * share / max(shares)) <= 12 + 10 * max(priorities)


def test_job_without_pairs_is_complete_at_once() -> None:
    queue = TokenBudgetQueue(BUDGET)
    assert queue.put(context_of("empty"), pairs_of([])).unscored == 0
    assert queue.next_batch() is None


@given(jobs=st.lists(LENGTHS, min_size=1, max_size=4), column=st.integers(20, 90))
def test_batches_keep_the_budget_in_tokens_of_the_pass_and_the_backlog_counts_tokens_of_pairs(
    jobs: list[list[int]], column: int
) -> None:
    queue = TokenBudgetQueue(BUDGET, lambda lengths: np.full_like(lengths, column))  # all padded to one column
    for number, lengths in enumerate(jobs):
        queue.put(context_of(str(number)), pairs_of(lengths))
    assert queue.backlog_tokens == sum(map(sum, jobs))
    while batch := queue.next_batch():
        assert len(batch.pairs) == 1 or len(batch.pairs) * column <= BUDGET
    assert queue.backlog_tokens == 0
