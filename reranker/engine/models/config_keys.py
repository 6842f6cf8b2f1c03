"""Which keys of a config.json a fast forward must understand, because they may change the arithmetic.

transformers reads keys that no architecture declares (`is_causal`), and new versions add more. So a fast forward
lists the keys that it understands. Any other key whose value is not the architecture's default rules it out.
"""

from __future__ import annotations

from collections.abc import Set

from transformers import PretrainedConfig

# Names, formats, training and generation: nothing that a classifier's forward pass computes depends on them.
_IRRELEVANT = frozenset(
    {"architectures", "base_model_name_or_path", "chunk_size_feed_forward", "dtype", "finetuning_task"}
    | {"gradient_checkpointing", "id2label", "initializer_range", "is_encoder_decoder", "label2id", "model_type"}
    | {"num_labels", "pretraining_tp", "problem_type", "return_dict", "sentence_transformers", "task_specific_params"}
    | {
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
        "transformers_weights",
        "unsloth_version",
        "use_cache",
    }
)
_IRRELEVANT_STARTS = ("_", "output_")
_IRRELEVANT_PARTS = ("dropout", "_token_id")
_SAYS_NOTHING: tuple[object, ...] = (None, {}, [])


def unknown_key(config: PretrainedConfig, understood: Set[str]) -> str | None:
    """The first config key, by name, that may change the arithmetic and is not understood, as "config key X is Y".

    None if there is none. understood: keys that the caller takes into account, whatever their value.
    """
    values, defaults = config.to_dict(), type(config)().to_dict()
    for key in sorted(values):
        if key in understood or key in _IRRELEVANT or key.startswith(_IRRELEVANT_STARTS):
            continue
        if any(part in key for part in _IRRELEVANT_PARTS):
            continue
        if values[key] not in _SAYS_NOTHING and values[key] != defaults.get(key):
            return f"config key {key} is {values[key]!r}"
    return None
