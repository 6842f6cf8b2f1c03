"""An encoder and the head that sentence-transformers keeps beside it, as one classifier of torch's own layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from reranker.checkpoints.module_chain import NORM_EPSILON, ChainLayer, ModuleChain
from reranker.errors import CheckpointError

_ACTIVATIONS: dict[str, nn.Module] = {"gelu": nn.GELU(), "relu": nn.ReLU(), "silu": nn.SiLU(), "tanh": nn.Tanh()}


class ChainModule(nn.Module):
    """Called as a sequence classifier of transformers is. Raises CheckpointError for weights that do not fit."""

    def __init__(self, body: PreTrainedModel, chain: ModuleChain, directory: Path) -> None:
        super().__init__()
        self.body, self._pooling = body, chain.pooling
        steps: list[nn.Module] = []
        for layer, file in zip(chain.layers, chain.weights(directory), strict=True):
            step = _step(layer)
            tensors = {key.removeprefix(f"{layer.tensors}."): tensor for key, tensor in load_file(file).items()}
            try:
                step.load_state_dict(tensors)
            except RuntimeError as error:
                raise CheckpointError(f"{file} does not match its config: {' '.join(str(error).split())}") from None
            steps.append(step)
            if layer.activation is not None:
                steps.append(_ACTIVATIONS[layer.activation])
        self.head = nn.Sequential(*steps).to(body.device, body.dtype)

    @property
    def config(self) -> Any:
        return self.body.config

    @property
    def device(self) -> torch.device:
        return self.body.device

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.body.get_input_embeddings()
        return embeddings

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        given = {"attention_mask": attention_mask, "token_type_ids": token_type_ids}
        hidden = self.body(input_ids, **{name: value for name, value in given.items() if value is not None})[0]
        if self._pooling == "cls":
            pooled = hidden[:, 0]
        else:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            weights = mask[..., None].to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        return SequenceClassifierOutput(logits=self.head(pooled))


def _step(layer: ChainLayer) -> nn.Module:
    if layer.kind == "norm":
        return nn.LayerNorm(layer.outputs, eps=NORM_EPSILON)
    return nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)
