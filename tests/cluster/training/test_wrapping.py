"""Two workers over gloo, whole or with shared weights, give the weights of one worker, also when resumed."""

from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.multiprocessing
from torch import distributed

from cluster.local.host import free_port
from cluster.training.output import collect_model
from cluster.training.wrapping import wrapped
from reranker.training.packed import PackedStudent
from tests.reranker.training.test_trainer import STEPS, groups_of_step, trained, trainer, weights

Sharding = Literal["none", "fsdp"]


def _one_of_two(rank: int, port: int, directory: str, sharding: Sharding) -> None:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    students: list[PackedStudent] = []

    def wrap(student: PackedStudent) -> torch.nn.Module:
        students.append(student)
        return wrapped(student, sharding, torch.device("cpu"))

    first = trainer(wrap=wrap)
    for step in range(STEPS // 2):
        first.train_step(groups_of_step(step)[rank::2])
    state = first.state_dict()
    torch.save(state, Path(directory) / f"state-{rank}.pt")
    second = trainer(wrap=wrap)
    second.load_state_dict(torch.load(Path(directory) / f"state-{rank}.pt", weights_only=True))
    for step in range(STEPS // 2, STEPS):
        second.train_step(groups_of_step(step)[rank::2])
    with second.averaged():
        _, mean = collect_model(students[-1], torch.float32)
    torch.save((weights(second, without_gradient=False), mean), Path(directory) / f"{rank}.pt")
    distributed.barrier()  # a worker that leaves first may abort the other one
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_workers_that_were_resumed_give_the_weights_of_one(tmp_path: Path, sharding: Sharding) -> None:
    torch.multiprocessing.spawn(_one_of_two, (free_port("127.0.0.1"), str(tmp_path), sharding), nprocs=2)
    (ours, mean), (theirs, _) = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert torch.equal(ours, theirs)
    alone = trainer()
    trained(alone)
    torch.testing.assert_close(ours, weights(alone, without_gradient=False), rtol=1e-3, atol=1e-6)
    with alone.averaged():
        expected = alone.state_dict()["student"]
        for name, value in mean.items():
            if not name.endswith(("key.bias", "classifier.bias")):
                torch.testing.assert_close(value, expected[f"module.{name}"], rtol=1e-3, atol=1e-6)
