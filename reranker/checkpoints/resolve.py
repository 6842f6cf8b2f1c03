"""Which recipe a checkpoint is run with, and where each part of it comes from.

In this order: settings; the manifest; what the checkpoint's own files say; the recipe of a known model; and for a
classifier bare pairs of texts, with a warning. A language model that nobody says how to ask is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from transformers import PretrainedConfig

from reranker.checkpoints.adapter import LANGUAGE_MODEL_TASKS, adapter_config
from reranker.checkpoints.files import (
    READ_AS,
    CheckpointFiles,
    architecture,
    is_classifier,
    load_tokenizer,
    model_type_of,
    read_config_object,
)
from reranker.checkpoints.manifest import MANIFEST_NAME
from reranker.checkpoints.recipes import known_for, recipe_named
from reranker.checkpoints.sentence_transformers import OwnWords, own_words, template_of_chat, template_with_prompt
from reranker.errors import CheckpointError
from reranker.prompt import DEAR, TEMPLATES, PromptTemplate
from reranker.recipe import CLASSIFIER, Recipe
from reranker.settings import CheckpointSettings

DEAR_PAIR_TOKENS = 228
_LANGUAGE_MODELS = ("ForCausalLM", "ForConditionalGeneration")
_DEFAULT = "assumed"


@dataclass(frozen=True, slots=True)
class Resolved:
    """origins: where each field of the recipe comes from, in words. assumed: whether nobody named the template."""

    recipe: Recipe
    origins: Mapping[str, str]

    @property
    def assumed(self) -> bool:
        return self.origins["template"] == _DEFAULT


def resolve(settings: CheckpointSettings, files: CheckpointFiles) -> Resolved:
    """The recipe of a checkpoint. Raises CheckpointError where nobody says how its score is read."""
    recipe, origin = _found(settings, files)
    origins = dict.fromkeys(Recipe.model_fields, origin)
    if recipe.max_pair_tokens is None:
        origins["max_pair_tokens"] = "the model's own limit"
    changes: dict[str, object] = {}
    if settings.template != "auto":
        changes["template"] = TEMPLATES[settings.template]
    if settings.max_pair_tokens is not None:
        changes["max_pair_tokens"] = settings.max_pair_tokens
    if settings.pooling != "auto":
        changes["pooling"] = settings.pooling
    if settings.instruction is not None:
        if not recipe.template.takes_instruction:
            raise CheckpointError(
                f"the template {recipe.template.name} of {files.name} reads no instruction: remove the setting"
            )
        changes["template"] = recipe.template.model_copy(update={"instruction": settings.instruction})
    return Resolved(recipe.model_copy(update=changes), MappingProxyType(origins | dict.fromkeys(changes, "settings")))


def _found(settings: CheckpointSettings, files: CheckpointFiles) -> tuple[Recipe, str]:
    """A recipe, and who says so."""
    if settings.recipe != "auto":
        return recipe_named(settings.recipe), "settings"
    if files.manifest is not None:
        return files.manifest.recipe, MANIFEST_NAME
    adapter = adapter_config(files.directory) if files.base is not None else None
    known = known_for(settings.model, *([] if adapter is None else [str(adapter["base_model_name_or_path"])]))
    if known is not None and known.needs_code and not settings.trust_remote_code:
        raise CheckpointError(f"{files.name} runs only with Python that ships with it: {known.why}")
    if known is None and (other := READ_AS.get(model_type_of(files))) is not None:
        return recipe_named(other[1]), f"known recipe {other[1]}"
    config = read_config_object(files, trust_remote_code=settings.trust_remote_code)
    words = own_words(files.directory)
    # An adapter of a classifier brings a head of its own, whatever its base model is.
    classifies = is_classifier(config) if adapter is None else adapter.get("task_type") not in LANGUAGE_MODEL_TASKS
    if words.modules and words.score is not None:
        raise CheckpointError(
            f"{files.name} has modules that are not known here ({', '.join(words.modules)}): give it a recipe"
        )
    if words.score is not None and not classifies:
        template = _of_chat(settings, files, words)
        return Recipe(name="its own", template=template, score=words.score), "its own modules.json and chat template"
    if known is not None:
        # Conversions to classifiers keep the names of the language models that they were made from.
        recipe = known.recipe.model_copy(update={"score": CLASSIFIER}) if classifies else known.recipe
        return recipe, f"known recipe {known.name}"
    if not classifies and (adapter is not None or (architecture(config) or "").endswith(_LANGUAGE_MODELS)):
        raise CheckpointError(_unasked(files, config, adapter))
    if Path(settings.model).name.lower().startswith("dear-"):
        return Recipe(name="dear", template=DEAR, max_pair_tokens=DEAR_PAIR_TOKENS), _DEFAULT
    if words.prompt is not None:
        return Recipe(name="prompt", template=template_with_prompt(words.prompt)), "its own default prompt"
    return Recipe(name="bare"), _DEFAULT


def _of_chat(settings: CheckpointSettings, files: CheckpointFiles, words: OwnWords) -> PromptTemplate:
    tokenizer = load_tokenizer(files, trust_remote_code=settings.trust_remote_code)
    if not tokenizer.chat_template:
        raise CheckpointError(f"{files.name} reads its score from tokens and has no chat template: give it a recipe")
    return template_of_chat(tokenizer, files.name, words.prompt, words.chat_options)


def _unasked(files: CheckpointFiles, config: PretrainedConfig, adapter: Mapping[str, object] | None) -> str:
    kind = architecture(config) if adapter is None else f"an adapter of task type {adapter['task_type']}"
    return (
        f"{files.name} is a language model ({kind}), not a classifier, and neither its files nor a "
        "known recipe say how it is asked: name one with --recipe, or write one that says which tokens carry the "
        'score, as in {"template": {"pieces": ["Query: {query} Document: {document} Relevant:"], "special_tokens": '
        '"none"}, "score": {"tokens": {"yes": 1, "no": -1}}}'
    )
