"""Which recipe a checkpoint is run with, and where each part of it comes from.

In this order: settings; the manifest; what the checkpoint's own files say; the recipe of a known model; and for a
classifier bare pairs of texts, with a warning. A language model that nobody says how to ask is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from reranker.checkpoints.adapter import LANGUAGE_MODEL_TASKS, adapter_config
from reranker.checkpoints.files import (
    READ_AS,
    CheckpointFiles,
    architecture,
    first_architecture,
    is_classifier,
    load_tokenizer,
    model_type_of,
    read_config_object,
)
from reranker.checkpoints.json_files import read_object
from reranker.checkpoints.manifest import MANIFEST_NAME
from reranker.checkpoints.recipes import KnownRecipe, known_for, recipe_named
from reranker.checkpoints.score_tokens import token_weights
from reranker.checkpoints.sentence_transformers import OwnWords, own_words, template_of_chat, template_with_prompt
from reranker.errors import CheckpointError
from reranker.prompt import DEAR, TEMPLATES
from reranker.recipe import CLASSIFIER, Recipe, Score
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
    keys = read_object((files.base or files.directory) / "config.json")
    known = _known(settings, files, adapter, keys)
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
        return _of_own_words(settings, files, words, words.score, known)
    if known is not None:
        return (_of_conversion(known, files) if classifies else known.recipe), f"known recipe {known.name}"
    if not classifies and (adapter is not None or (architecture(config) or "").endswith(_LANGUAGE_MODELS)):
        raise CheckpointError(_unasked(files, config, adapter))
    if not settings.trust_remote_code and settings.template == "auto":
        _check_no_code(files, keys)
    if Path(settings.model).name.lower().startswith("dear-"):
        return Recipe(name="dear", template=DEAR, max_pair_tokens=DEAR_PAIR_TOKENS), _DEFAULT
    if words.prompt is not None:
        return Recipe(name="prompt", template=template_with_prompt(words.prompt)), "its own default prompt"
    return Recipe(name="bare"), _DEFAULT


def _known(
    settings: CheckpointSettings,
    files: CheckpointFiles,
    adapter: Mapping[str, object] | None,
    keys: Mapping[str, Any],
) -> KnownRecipe | None:
    """By the name that it was given, by that of its directory behind a link, and by that of its base model."""
    models = [settings.model, str(files.directory)]
    if adapter is not None:
        models.append(str(adapter["base_model_name_or_path"]))
    return known_for(*models, architecture=first_architecture(keys.get("architectures")))


def _of_conversion(known: KnownRecipe, files: CheckpointFiles) -> Recipe:
    """Classifiers made of a language model keep its name, and have its score as their one logit."""
    if any(abs(weight) != 1 for weight in known.score.tokens.values()):
        raise CheckpointError(
            f"{files.name} is a classifier with the name of {known.name}, whose score is a multiple of a token's "
            "logit, and whether its one logit is that multiple cannot be told: serve the language model, or give it "
            "a recipe of your own"
        )
    return known.recipe.model_copy(update={"score": CLASSIFIER})


def _check_no_code(files: CheckpointFiles, keys: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a checkpoint whose model is Python of its own under a known model type."""
    named = keys.get("auto_map")
    classes = (
        [str(name) for auto, name in named.items() if auto.startswith("AutoModel")] if isinstance(named, dict) else []
    )
    if classes:
        raise CheckpointError(
            f"{files.name} ships Python of its own for its model ({classes[0]}), and what transformers has under the "
            "same name may compute something else: read it and set trust_remote_code, or name a recipe or a template "
            "if you know that the two are the same"
        )


def _of_own_words(
    settings: CheckpointSettings, files: CheckpointFiles, words: OwnWords, score: Score, known: KnownRecipe | None
) -> tuple[Recipe, str]:
    """What the directory says, and what it does not: a known recipe's length and factor, if it has the same tokens.

    sentence-transformers cannot save a factor, and no limit of tokens but the model's.
    """
    tokenizer = load_tokenizer(files, trust_remote_code=settings.trust_remote_code)
    origin = "its own modules.json and chat template"
    if known is not None and not _same_tokens(score, known.score, tokenizer):
        known = None
    try:
        if not tokenizer.chat_template:
            raise CheckpointError(
                f"{files.name} reads its score from tokens and has no chat template: give it a recipe"
            )
        template = template_of_chat(tokenizer, files.name, words.prompt, words.chat_options)
    except CheckpointError:
        if known is None:
            raise
        return known.recipe, f"known recipe {known.name}"
    if known is None:
        return Recipe(name="its own", template=template, score=score), origin
    if template.text == known.template.text:
        template = known.template.model_copy(update={"instruction": template.instruction})
        origin = f"known recipe {known.name}"
    else:
        origin = f"{origin}, and known recipe {known.name}"
    return known.recipe.model_copy(update={"template": template}), origin


def _same_tokens(score: Score, other: Score, tokenizer: PreTrainedTokenizerBase) -> bool:
    try:
        first, second = (token_weights(each, tokenizer, None, "") for each in (score, other))
    except CheckpointError:  # the tokenizer lacks one: it is not that of the other
        return False
    return first.keys() == second.keys()


def _unasked(files: CheckpointFiles, config: PretrainedConfig, adapter: Mapping[str, object] | None) -> str:
    kind = architecture(config) if adapter is None else f"an adapter of task type {adapter['task_type']}"
    return (
        f"{files.name} is a language model ({kind}), not a classifier, and neither its files nor a "
        "known recipe say how it is asked: name one with --recipe, or write one that says which tokens carry the "
        'score, as in {"template": {"pieces": ["Query: {query} Document: {document} Relevant:"], "special_tokens": '
        '"none"}, "score": {"tokens": {"yes": 1, "no": -1}}}'
    )
