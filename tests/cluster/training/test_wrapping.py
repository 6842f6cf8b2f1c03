"""Two workers over gloo, whole or with shared weights, give the weights of one worker, also when resumed."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.multiprocessing
from torch import distributed
from transformers import LlamaConfig, PretrainedConfig

from cluster.local.host import free_port
from cluster.training.results.output import collect_model
from cluster.training.settings import Sharding
from cluster.training.wrapping import wrapped
from reranker.training.packed import PackedStudent, recompute_activations
from reranker.training.trainer import Trainer
from tests.reranker.training.test_trainer import CONFIG, STEP, STEPS, group, groups_of_step, trainer, weights

LLAMA = LlamaConfig(
    vocab_size=60,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    num_labels=1,
    pad_token_id=0,
    initializer_range=0.2,
)
CPU = torch.device("cpu")


class Case(NamedTuple):
    sharding: Sharding
    config: PretrainedConfig
    dtype: torch.dtype = torch.float32
    recompute: bool = False
    micro_batch_tokens: int = 4096


CASES = {
    "whole": Case("none", CONFIG),
    "zero2": Case("zero2", CONFIG, micro_batch_tokens=60),
    "fsdp": Case("fsdp", CONFIG, micro_batch_tokens=60),
    "zero2 bfloat16": Case("zero2", CONFIG, torch.bfloat16),
    "zero2 llama": Case("zero2", LLAMA, torch.bfloat16, recompute=True),
    "fsdp llama": Case("fsdp", LLAMA, torch.bfloat16, recompute=True),
}


def steps_of(case: Case, workers: int, rank: int, state: Path) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A run that is measured with its mean weights after each step, and resumed from `state` half-way.

    Returns all weights, and those of the checkpoint that it would write.
    """
    students: list[PackedStudent] = []

    def wrap(student: PackedStudent) -> torch.nn.Module:
        students.append(student)
        if case.recompute:
            recompute_activations(student.hugging_face)
        return wrapped(student, case.sharding, CPU, case.dtype) if workers > 1 else student

    def begun() -> Trainer:
        settings = STEP.model_copy(update={"micro_batch_tokens": case.micro_batch_tokens})
        return trainer(settings, wrap, case.config, case.dtype)

    run = begun()
    for step in range(STEPS):
        if step == STEPS // 2 + 1:  # a mean has begun
            torch.save(run.state_dict(), state)
            run = begun()
            run.load_state_dict(torch.load(state, weights_only=True))
        run.train_step(groups_of_step(step)[rank::workers])
        with run.averaged():
            run.score([group(7).pairs])
    with run.averaged():
        _, mean = collect_model(students[-1], torch.float32)
    return weights(run, without_gradient=False), mean


def _one_of_two(rank: int, port: int, directory: Path) -> None:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for name, case in CASES.items():
        torch.save(steps_of(case, 2, rank, directory / f"{name}-{rank}.state"), directory / f"{name}-{rank}.pt")
    distributed.barrier()  # a worker that leaves first may abort the other one
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(_one_of_two, (free_port("127.0.0.1"), directory), nprocs=2)
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_workers_that_were_resumed_give_the_weights_of_one(of_two: Path, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    (ours, mean), (theirs, _) = [torch.load(of_two / f"{name}-{rank}.pt") for rank in (0, 1)]
    assert torch.equal(ours, theirs)
    alone, expected = steps_of(case, 1, 0, tmp_path / "state")
    started = weights(trainer(config=case.config), without_gradient=False)
    allowed = 2e-5 if case.dtype is torch.float32 else 0.03
    assert (ours - alone).norm() < allowed * (alone - started).norm()
    if case.dtype is torch.float32:
        for part, value in mean.items():
            if not part.endswith(("key.bias", "classifier.bias")):
                torch.testing.assert_close(value, expected[part], rtol=1e-4, atol=1e-6)
