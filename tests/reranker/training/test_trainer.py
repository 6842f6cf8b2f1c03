"""Steps: accumulation, resuming, seeds, workers, and what must stop a run."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForSequenceClassification, BertConfig, PretrainedConfig

from cluster.local.host import free_port
from reranker.errors import TrainingFailed
from reranker.layout import PairLayout
from reranker.pairs import EncodedPairs, offsets
from reranker.training.batches import EncodedGroup, micro_batches
from reranker.training.packed import PackedPairs, PackedStudent
from reranker.training.settings import LossSettings, StepSettings
from reranker.training.trainer import Trainer

CONFIG = BertConfig(
    vocab_size=60,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_labels=1,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.2,
)
LAYOUT = PairLayout(head=(2,), middle=(3,), tail=(3,), prefix_type=0, passage_type=1, middle_passage_typed=0)
STEP = StepSettings(queries_per_step=4, micro_batch_tokens=4096, learning_rate=1e-3, warmup_steps=2, average_last=0.5)
STEPS = 6


def group(seed: int, passages: int = 5) -> EncodedGroup:
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 9, passages)
    pairs = EncodedPairs(
        prefix_ids=random.integers(5, 60, 4, dtype=np.int32),
        prefix_offsets=offsets(np.array([4])),
        prefix_of=np.zeros(passages, dtype=np.int32),
        passage_ids=random.integers(5, 60, lengths.sum(), dtype=np.int32),
        passage_offsets=offsets(lengths),
        candidate_of=np.arange(passages, dtype=np.int32),
        truncated=np.zeros(passages, dtype=bool),
    )
    labels = np.eye(passages, dtype=np.float32)[0]
    return EncodedGroup(pairs, labels, random.normal(size=passages).astype(np.float32))


def groups_of_step(step: int) -> list[EncodedGroup]:
    return [group(100 * step + query, passages=3 + query) for query in range(4)]


def trainer(
    settings: StepSettings = STEP,
    wrap: Callable[[PackedStudent], torch.nn.Module] | None = None,
    config: PretrainedConfig = CONFIG,
    dtype: torch.dtype = torch.float32,
) -> Trainer:
    torch.manual_seed(1)
    student = PackedStudent(AutoModelForSequenceClassification.from_config(copy.deepcopy(config)), LAYOUT)
    wrapped = wrap(student) if wrap else None
    return Trainer(student, settings, LossSettings(), STEPS, device=torch.device("cpu"), dtype=dtype, wrapped=wrapped)


def weights(of: Trainer, *, without_gradient: bool = True) -> torch.Tensor:
    """All weights in one vector. without_gradient: also those whose exact gradient is 0, the biases of keys and of
    the head: softmax and differences cancel them, and AdamW turns their rounding errors into full steps.
    """
    state = of.state_dict()["student"]
    shifts = () if without_gradient else ("key.bias", "classifier.bias")
    kept = [value for name, value in state.items() if not name.endswith(shifts)]
    return torch.cat([value.detach().flatten().float() for value in kept])


def trained(of: Trainer, first: int = 0, last: int = STEPS) -> torch.Tensor:
    for step in range(first, last):
        of.train_step(groups_of_step(step))
    return weights(of).clone()


def test_same_seed_gives_the_same_weights() -> None:
    assert torch.equal(trained(trainer()), trained(trainer()))


def test_accumulated_micro_batches_give_the_weights_of_one() -> None:
    one, many = trainer(), trainer(STEP.model_copy(update={"micro_batch_tokens": 40}))
    assert len(micro_batches(groups_of_step(0), 40)) == 4
    trained(one)
    trained(many)
    torch.testing.assert_close(
        weights(one, without_gradient=False), weights(many, without_gradient=False), rtol=1e-3, atol=1e-6
    )


def test_resumed_run_equals_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = trainer()
    expected = trained(undisturbed)
    stopped = trainer()
    trained(stopped, last=4)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = trainer()
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert resumed.step == 4
    assert torch.equal(trained(resumed, first=4), expected)
    with undisturbed.averaged(), resumed.averaged():
        assert torch.equal(weights(resumed), weights(undisturbed))


def test_averaged_weights_are_the_mean_of_the_last_steps_and_leave_nothing_behind() -> None:
    run = trainer()
    seen = []
    for step in range(STEPS):
        run.train_step(groups_of_step(step))
        seen.append(weights(run).clone())
    with run.averaged():
        torch.testing.assert_close(weights(run), torch.stack(seen[3:]).mean(0), rtol=1e-5, atol=1e-6)
    assert torch.equal(weights(run), seen[-1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_weights_change(bad: float) -> None:
    run = trainer()
    trained(run, last=2)
    before = weights(run).clone()
    broken = groups_of_step(2)
    broken[1].targets[2] = bad
    with pytest.raises(TrainingFailed, match="step 3: the loss is nan"):
        run.train_step(broken)
    assert torch.equal(weights(run), before)
    assert run.step == 2
    run.train_step(groups_of_step(2))  # the run could go on with other groups
    assert torch.isfinite(weights(run)).all()


class Allocates(torch.nn.Module):
    """Runs the student, and at its third forward asks for more memory than there is."""

    def __init__(self, student: PackedStudent) -> None:
        super().__init__()
        self.student = student
        self.forwards = 0

    def forward(self, pairs: PackedPairs) -> torch.Tensor:
        self.forwards += 1
        if self.forwards == 3:
            torch.empty(2**50)
        logits: torch.Tensor = self.student(pairs)
        return logits


def test_group_larger_than_memory_stops_the_run_before_the_weights_change() -> None:
    run = trainer(wrap=Allocates)
    trained(run, last=2)
    before = weights(run).clone()
    with pytest.raises(TrainingFailed, match=r"step 3: \d+ tokens at once do not fit the memory of cpu: lower"):
        run.train_step(groups_of_step(2))
    assert torch.equal(weights(run), before)
    assert run.step == 2


def test_scores_are_in_the_order_of_the_parts() -> None:
    run = trainer()
    parts = [group(seed).pairs for seed in range(3)]
    together = run.score([EncodedPairs.concat(parts)])[0]
    apart = run.score(parts)
    assert [len(part) for part in apart] == [5, 5, 5]
    np.testing.assert_allclose(np.concatenate(apart), together, rtol=1e-4, atol=1e-6)


def _one_of_two(rank: int, port: int, directory: str) -> None:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    run = trainer(STEP.model_copy(update={"micro_batch_tokens": 60}), DistributedDataParallel)
    for step in range(STEPS):
        run.train_step(groups_of_step(step)[rank::2])  # as many groups, but not as many micro-batches
    torch.save(weights(run, without_gradient=False), Path(directory) / f"{rank}.pt")
    distributed.barrier()  # a worker that leaves first may abort the other one
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_workers_give_the_weights_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_one_of_two, (free_port("127.0.0.1"), str(tmp_path)), nprocs=2)
    both = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(*both)
    alone = trainer()
    trained(alone)
    torch.testing.assert_close(both[0], weights(alone, without_gradient=False), rtol=1e-3, atol=1e-6)
