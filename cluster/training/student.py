"""Load the model that is trained: a checkpoint, perhaps with a new head, adapters, or frozen parts."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from reranker.checkpoints.files import load_tokenizer, locate
from reranker.checkpoints.hugging_face import offline
from reranker.errors import CheckpointError, TrainingFailed
from reranker.pair_encoder import PairEncoder
from reranker.prompt import template_named
from reranker.settings import CheckpointSettings
from reranker.training.packed import PackedStudent, recompute_activations
from reranker.training.settings import LoraSettings, StudentSettings


def load_student(settings: StudentSettings, seed: int) -> tuple[PackedStudent, PairEncoder, Any]:
    """The student in float32 on the CPU, its encoder, and its tokenizer.

    Raises CheckpointError for a checkpoint that cannot be trained, or lacks a head while `new_head` is off.
    """
    files = locate(CheckpointSettings(model=settings.model), weights=True)
    tokenizer = load_tokenizer(files)
    module = _load_module(settings, files, seed)
    config = module.config
    if config.pad_token_id is None or not 0 <= config.pad_token_id < config.vocab_size:
        # Only so that Hugging Face's own batches of the trained model work; packed pairs have no padding.
        config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
    encoder = _encoder(settings, tokenizer, config.vocab_size)
    if settings.gradient_checkpointing:
        recompute_activations(module)
    trained: nn.Module = module
    if settings.lora is not None:
        trained = _with_adapters(module, settings.lora)
    unknown = [part for part in settings.frozen if not any(part in name for name, _ in trained.named_parameters())]
    if unknown:
        raise TrainingFailed(f"student.frozen: no parameter's name contains {', '.join(unknown)}")
    for name, parameter in trained.named_parameters():
        if any(part in name for part in settings.frozen):
            parameter.requires_grad_(False)
    for part in trained.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # distillation from scores needs none, and runs are then the same for any number of workers
    return PackedStudent(trained, encoder.layout), encoder, tokenizer


def load_encoder_of(settings: StudentSettings) -> PairEncoder:
    """The student's encoder, without its weights."""
    from transformers import AutoConfig

    files = locate(CheckpointSettings(model=settings.model), weights=False)
    with offline():
        config = AutoConfig.from_pretrained(files.directory, local_files_only=True)
    return _encoder(settings, load_tokenizer(files), config.vocab_size)


def _encoder(settings: StudentSettings, tokenizer: Any, vocabulary: int) -> PairEncoder:
    return PairEncoder(tokenizer, template_named(settings.template), settings.max_pair_tokens, vocabulary)


def _load_module(settings: StudentSettings, files: Any, seed: int) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    directory = files.directory
    if files.base is not None:
        raise CheckpointError(f"{files.name} is an adapter: merge it first, or start from its base model")
    disable_progress_bar()  # there is one of our own
    with offline():
        config = AutoConfig.from_pretrained(directory, local_files_only=True, num_labels=1)
        torch.manual_seed(seed)  # a new head's values
        module, loaded = AutoModelForSequenceClassification.from_pretrained(
            directory, config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    missing = sorted(loaded["missing_keys"])
    if missing and not settings.new_head:
        raise CheckpointError(
            f"{files.name} lacks {', '.join(missing[:3])}: set student.new_head to train a head from the beginning"
        )
    if others := [name for name in missing if not any(head in name for head in ("classifier", "score", "pooler"))]:
        raise CheckpointError(f"{files.name} lacks weights beside its head: {', '.join(others[:3])}")
    return module


def _with_adapters(module: Any, lora: LoraSettings) -> nn.Module:
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=list(lora.targets),
    )
    try:
        with warnings.catch_warnings():  # peft 0.21 reads a property that transformers 5.2x has renamed
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted: nn.Module = get_peft_model(module, config)
    except ValueError as error:
        raise TrainingFailed(f"student.lora.targets: {' '.join(str(error).split())[:300]}") from None
    return adapted


def merged(student: PackedStudent) -> Any:
    """The Hugging Face module to save: adapters are merged into a copy of the weights."""
    import copy

    module = student.module
    if not hasattr(module, "merge_and_unload"):
        return module
    return copy.deepcopy(module).merge_and_unload()  # type: ignore[operator]
