"""Rows of the LM head as a classifier's head: which table they are read from, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from reranker.checkpoints.token_head import TokenHead, logit_cap_of
from reranker.checkpoints.weights import ModuleWeights, SafetensorsWeights, Weights
from reranker.errors import CheckpointError, MissingWeights

EMBEDDINGS, LM_HEAD = torch.arange(12.0).reshape(4, 3), torch.arange(100.0, 112.0).reshape(4, 3)
WeightsOf = Callable[[dict[str, torch.Tensor]], Weights]
TIED = {"model.embed_tokens.weight": EMBEDDINGS}
UNTIED = TIED | {"lm_head.weight": LM_HEAD}


@pytest.fixture(params=["file", "memory"])
def weights_of(request: pytest.FixtureRequest, tmp_path: Path) -> WeightsOf:
    def make(tensors: dict[str, torch.Tensor]) -> Weights:
        if request.param == "memory":
            return ModuleWeights("toy", tensors)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
        return SafetensorsWeights("toy", [tmp_path / "model.safetensors"])

    return make


def score(head: TokenHead, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return head.read("score.weight", shape=(1, 3), dtype=dtype, device="cpu")


@pytest.mark.parametrize(
    ("tensors", "tied", "table"),
    [
        (UNTIED, False, LM_HEAD),
        (TIED, True, EMBEDDINGS),
        (UNTIED, True, LM_HEAD),  # Hugging Face does not tie what differs
    ],
)
def test_score_is_the_weighted_sum_of_rows_of_the_head_in_the_file(
    weights_of: WeightsOf, tensors: dict[str, torch.Tensor], tied: bool, table: torch.Tensor
) -> None:
    head = TokenHead(weights_of(tensors), {3: 1, 0: -1}, tied=tied)
    assert "score.weight" in head
    assert score(head).tolist() == [(table[3] - table[0]).tolist()]
    assert score(head, torch.bfloat16).dtype is torch.bfloat16
    assert score(TokenHead(weights_of(tensors), {2: 0.5}, tied=tied)).tolist() == [(table[2] / 2).tolist()]


def test_rows_are_summed_before_they_are_rounded() -> None:
    rows = torch.tensor([[256.0], [255.0]], dtype=torch.bfloat16)
    head = TokenHead(ModuleWeights("toy", {"lm_head.weight": rows}), {0: 1, 1: 1 / 256}, tied=False)
    summed = head.read("score.weight", shape=(1, 1), dtype=torch.float32, device="cpu")
    assert summed.item() == 256 + 255 / 256  # which has no bfloat16


def test_other_tensors_are_those_of_the_checkpoint(weights_of: WeightsOf) -> None:
    head = TokenHead(weights_of(UNTIED), {0: 1}, tied=False)
    name = "model.embed_tokens.weight"
    assert name in head
    assert "model.norm.weight" not in head
    assert torch.equal(head.read(name, shape=(4, 3), dtype=torch.float32, device="cpu"), EMBEDDINGS)
    assert torch.equal(head.rows(name, [1]), EMBEDDINGS[1:2])


@pytest.mark.parametrize("token", [4, -1])
def test_token_outside_the_vocabulary_is_refused(weights_of: WeightsOf, token: int) -> None:
    with pytest.raises(CheckpointError, match=f"toy has no row {token} in lm_head.weight: it has rows 0 to 3"):
        score(TokenHead(weights_of(UNTIED), {0: 1, token: -1}, tied=False))


def test_missing_head_and_a_score_without_tokens_are_refused(weights_of: WeightsOf) -> None:
    with pytest.raises(MissingWeights, match=r"no lm_head.weight, and the config does not tie it"):
        TokenHead(weights_of(TIED), {0: 1}, tied=False)
    with pytest.raises(MissingWeights, match=r"model.embed_tokens.weight"):
        score(TokenHead(weights_of({"other": EMBEDDINGS}), {0: 1}, tied=True))
    with pytest.raises(CheckpointError, match="no token carries the score"):
        TokenHead(weights_of(UNTIED), {}, tied=False)


def test_head_of_another_width_is_refused(weights_of: WeightsOf) -> None:
    with pytest.raises(CheckpointError, match="have 3 columns, where the config requires 8"):
        TokenHead(weights_of(UNTIED), {0: 1}, tied=False).read(
            "score.weight", shape=(1, 8), dtype=torch.float32, device="cpu"
        )


def test_capped_logits_are_read_of_one_token_alone() -> None:
    assert logit_cap_of(None, {1: 1, 2: -1}) is None
    assert logit_cap_of(30.0, {1: 1}) == logit_cap_of(30.0, {1: -1}) == 30.0
    for token_weights in ({1: 1, 2: -1}, {1: 0.5}):
        with pytest.raises(CheckpointError, match=r"caps logits at 30.0"):
            logit_cap_of(30.0, token_weights)
