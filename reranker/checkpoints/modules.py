"""Loads a checkpoint as a module of transformers: the reference for scores, and Hugging Face's own forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reranker.checkpoints.adapter import merge_adapter
from reranker.checkpoints.files import CheckpointFiles, is_classifier, load_config, other_architecture
from reranker.checkpoints.hugging_face import as_checkpoint_error, offline
from reranker.checkpoints.module_chain import module_chain
from reranker.checkpoints.weight_files import weight_files
from reranker.checkpoints.weights import check_all_used, check_not_quantized
from reranker.errors import CheckpointError
from reranker.recipe import BARE_CLASSIFIER, CLASSIFIER, Recipe

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel


def temperature_of(config: PretrainedConfig, recipe: Recipe) -> float:
    """What logits are divided by, in NVIDIA's Llama rerankers; 1.0 for all others."""
    return float(getattr(config, "score_temperature", 1.0)) if recipe.pooling == "mean" else 1.0


def load_module(
    files: CheckpointFiles,
    *,
    dtype: torch.dtype,
    device: str,
    recipe: Recipe = BARE_CLASSIFIER,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """The model in eval mode, with a LoRA adapter merged. Raises CheckpointError.

    That includes a head missing from the files, which transformers would initialize at random.
    """
    import transformers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # one per replica would clutter the log
    score = recipe.score
    config = load_config(files, score=score, trust_remote_code=trust_remote_code)
    if getattr(config, "quantization_config", None) is None:
        check_not_quantized(files.name, weight_files(files.base or files.directory))
    if recipe.attention is not None:
        config.is_causal = recipe.attention == "causal"
    of_kind = {
        "classifier": transformers.AutoModelForSequenceClassification,
        "tokens": transformers.AutoModelForCausalLM,
        "first_decoded": transformers.AutoModelForSeq2SeqLM,
    }
    chain = module_chain(files.directory)
    with as_checkpoint_error(files.name), offline():
        module, loaded = (of_kind[score.kind] if chain is None else transformers.AutoModel).from_pretrained(
            files.base or files.directory,
            config=config,
            dtype=dtype,
            device_map=device,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        missing = set(loaded["missing_keys"])
        if chain is not None:
            from reranker.checkpoints.chain_module import ChainModule  # its imports take seconds

            module = ChainModule(module, chain, files.directory)
        if files.base is not None:
            module, missing = merge_adapter(module, files.directory, missing), set()
    if missing:
        advice = "is it a one-logit sequence classifier?" if score == CLASSIFIER else "is it a language model?"
        if score.kind == "classifier" and not is_classifier(config) and (other := other_architecture(config)):
            advice = f"it is a {other}, and a reranker is a sequence classifier with one logit"
        names = ", ".join(sorted(missing)[:3])
        raise CheckpointError(f"{files.name} lacks weights its config requires ({names}): {advice}")
    check_all_used(files.name, loaded["unexpected_keys"])
    if loaded["mismatched_keys"]:
        raise CheckpointError(f"the weights of {files.name} do not match its config: {loaded['mismatched_keys']}")
    return module.eval().requires_grad_(False)  # type: ignore[no-any-return]
