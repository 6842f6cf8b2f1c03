"""Chooses the forward for a checkpoint: a fast one if there is one, else Hugging Face's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from transformers import PretrainedConfig

from reranker.checkpoints.files import CheckpointFiles
from reranker.checkpoints.module_chain import NORM_EPSILON, ModuleChain, module_chain
from reranker.checkpoints.modules import load_module, temperature_of
from reranker.checkpoints.token_head import TokenHead, logit_cap_of
from reranker.checkpoints.weight_files import weight_files
from reranker.checkpoints.weights import (
    JoinedWeights,
    ModuleWeights,
    SafetensorsWeights,
    Weights,
    check_all_used,
    check_not_quantized,
)
from reranker.encoder import Encoder
from reranker.engine.models import ScoringModel
from reranker.engine.models import bert as bert_family
from reranker.engine.models import llama as llama_family
from reranker.engine.models import modernbert as modernbert_family
from reranker.engine.models import t5 as t5_family
from reranker.engine.models.bert import BertModel
from reranker.engine.models.huggingface import HuggingFaceModel
from reranker.engine.models.llama import LlamaModel
from reranker.engine.models.modernbert import ModernBertModel
from reranker.engine.models.pooled_head import Dense, Head, Norm
from reranker.engine.models.t5 import T5Model
from reranker.errors import CheckpointError, MissingWeights
from reranker.recipe import BARE_CLASSIFIER, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel  # takes seconds to import; the fast forwards do not need it

log = logging.getLogger(__name__)


def load_model(
    files: CheckpointFiles,
    config: PretrainedConfig,
    encoder: Encoder,
    *,
    dtype: torch.dtype,
    device: str,
    huggingface: bool = False,
    trust_remote_code: bool = False,
) -> ScoringModel:
    """A checkpoint's weights on the device, with the forward for them. Raises CheckpointError.

    huggingface: use Hugging Face's forward even if there is a fast one.
    """

    recipe, tokens = encoder.recipe, encoder.token_weights
    if getattr(config, "quantization_config", None) is None:
        check_not_quantized(files.name, weight_files(files.base or files.directory))

    def module(device: str) -> PreTrainedModel:
        return load_module(files, dtype=dtype, device=device, recipe=recipe, trust_remote_code=trust_remote_code)

    chain = module_chain(files.directory)
    problem = why_no_fast_forward(config, encoder.max_pair_tokens, recipe)
    if huggingface or problem is not None:
        if recipe.pooling == "mean":
            raise CheckpointError(f"{files.name}: only the fast forward pools the mean, and it has none: {problem}")
        return HuggingFaceModel(module(device), encoder.layout, encoder.pad, tokens)

    def fast(weights: Weights, config: PretrainedConfig) -> ScoringModel:
        if recipe.score.kind == "first_decoded":
            return T5Model(weights, config, tokens, dtype=dtype, device=device)
        if config.model_type in llama_family.FAMILIES:
            return LlamaModel(
                TokenHead(weights, tokens, tied=config.tie_word_embeddings) if tokens else weights,
                config,
                encoder.max_pair_tokens,
                encoder.pad,
                dtype=dtype,
                device=device,
                causal=recipe.attention != "bidirectional",
                pooling="mean" if recipe.pooling == "mean" else "last",
                skips_pad_ids=not tokens,
                temperature=temperature_of(config, recipe),
                logit_cap=logit_cap_of(getattr(config, "final_logit_softcapping", None), tokens) if tokens else None,
            )
        if config.model_type == "modernbert":
            head = None if chain is None else _head_of(chain)
            body = "model." if chain is None else ""
            return ModernBertModel(
                weights, config, encoder.max_pair_tokens, head, body=body, dtype=dtype, device=device
            )
        return BertModel(weights, config, encoder.layout, dtype=dtype, device=device)

    if files.base is None:
        try:
            own = SafetensorsWeights(files.name, weight_files(files.directory))
            model = fast(own if chain is None else JoinedWeights(own, _head_weights(files, chain)), config)
            check_all_used(files.name, own.unread)
            return model
        except MissingWeights as error:
            # Another file format or old tensor names: Hugging Face's loader converts both.
            log.info("%s is loaded through Hugging Face: %s", files.name, error)
            if chain is not None:
                return HuggingFaceModel(module(device), encoder.layout)
    # Load on the CPU: the GPU may have no room for a second copy.
    loaded = module("cpu")
    # Its config, because an adapter may have added embeddings.
    return fast(ModuleWeights(files.name, loaded.state_dict()), loaded.config)


def _head_of(chain: ModuleChain) -> Head:
    """The head of a ModernBERT that sentence-transformers saved."""
    return Head(
        chain.pooling,
        tuple(
            Norm(f"{layer.directory}/{layer.tensors}", True, NORM_EPSILON)
            if layer.kind == "norm"
            else Dense(f"{layer.directory}/{layer.tensors}", layer.outputs, layer.bias, layer.activation)
            for layer in chain.layers
        ),
    )


def _head_weights(files: CheckpointFiles, chain: ModuleChain) -> dict[str, Weights]:
    """The weights of each layer, by what the names of its tensors begin with in `_head_of`."""
    paths = chain.weights(files.directory)
    return {
        f"{layer.directory}/": SafetensorsWeights(files.name, [path])
        for layer, path in zip(chain.layers, paths, strict=True)
    }


def why_no_fast_forward(
    config: PretrainedConfig, max_pair_tokens: int, recipe: Recipe = BARE_CLASSIFIER
) -> str | None:
    """Why a checkpoint has no fast forward; None if it has one."""
    if getattr(config, "quantization_config", None) is not None:
        return "its weights are quantized"
    if recipe.score.kind == "first_decoded":
        return t5_family.unsupported(config)
    if config.model_type in llama_family.FAMILIES:
        caps = recipe.score.tokens and getattr(config, "final_logit_softcapping", None) is not None
        if caps and [abs(weight) for weight in recipe.score.tokens.values()] != [1]:
            return "its capped logits cannot be summed before they are computed"
        return llama_family.unsupported(config, max_pair_tokens, causal=recipe.attention != "bidirectional")
    if recipe.score.kind == "tokens":
        return f"its architecture is {config.model_type}"
    if config.model_type == "modernbert":
        return modernbert_family.unsupported(config)
    return bert_family.unsupported(config)
