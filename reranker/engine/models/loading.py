"""Which forward runs a checkpoint: a fast one where its architecture has one, else Hugging Face's, with a warning."""

from __future__ import annotations

import logging

import torch
from transformers import PretrainedConfig, PreTrainedModel

from reranker.checkpoints.files import CheckpointFiles, load_module
from reranker.checkpoints.weights import ModuleWeights, SafetensorsWeights, Weights
from reranker.encoding import PairEncoder
from reranker.engine.models import ScoringModel
from reranker.engine.models import bert as bert_family
from reranker.engine.models import llama as llama_family
from reranker.engine.models.bert import BertModel
from reranker.engine.models.huggingface import HuggingFaceModel
from reranker.engine.models.llama import LlamaModel
from reranker.errors import MissingWeights

log = logging.getLogger(__name__)


def load_model(
    files: CheckpointFiles,
    config: PretrainedConfig,
    encoder: PairEncoder,
    *,
    dtype: torch.dtype,
    device: str,
    huggingface: bool = False,
    trust_remote_code: bool = False,
) -> ScoringModel:
    """The weights on the device, in the forward that runs them. Raises CheckpointError.

    huggingface: use Hugging Face's forward even where there is a fast one.
    """

    def module(device: str) -> PreTrainedModel:
        return load_module(files, dtype=dtype, device=device, trust_remote_code=trust_remote_code)

    problem = why_no_fast_forward(config, encoder.max_pair_tokens)
    if huggingface or problem is not None:
        if problem is not None:
            log.warning("%s has no fast forward here, Hugging Face's own runs it: %s", files.name, problem)
        return HuggingFaceModel(module(device), encoder.layout)

    def fast(weights: Weights) -> ScoringModel:
        if config.model_type in llama_family.FAMILIES:
            return LlamaModel(weights, config, encoder.max_pair_tokens, dtype=dtype, device=device)
        return BertModel(weights, config, encoder.layout, dtype=dtype, device=device)

    if files.base is None:
        try:
            return fast(SafetensorsWeights(files.directory))
        except MissingWeights as error:
            # An adapter, another file format, or old tensor names: Hugging Face knows what to make of those.
            log.info("%s is loaded through Hugging Face: %s", files.name, error)
    return fast(ModuleWeights(files.name, module("cpu").state_dict()))  # the GPU has room for the weights once


def why_no_fast_forward(config: PretrainedConfig, max_pair_tokens: int) -> str | None:
    """Why a checkpoint has no fast forward, None where it has one."""
    if getattr(config, "quantization_config", None) is not None:
        return "its weights are quantized"
    if config.model_type in llama_family.FAMILIES:
        return llama_family.unsupported(config, max_pair_tokens)
    return bert_family.unsupported(config)
