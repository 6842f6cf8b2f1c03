"""The recipes of known rerankers: one YAML file each, with its source, and what was checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from reranker.errors import CheckpointError
from reranker.recipe import Recipe


class KnownRecipe(Recipe):
    """A recipe, and the models that it is for.

    models: hub ids. architecture: of their config.json. needs_code: they run only with Python of their own, and why
    says what to do instead. checked: what was compared with what. unsure: what could not be established.
    """

    models: tuple[str, ...] = Field(min_length=1)
    architecture: str
    licence: str
    source: str
    needs_code: bool = False
    why: str = ""
    checked: str
    unsure: str = ""

    @property
    def recipe(self) -> Recipe:
        return Recipe(**{name: getattr(self, name) for name in Recipe.model_fields})


@cache
def known_recipes() -> Mapping[str, KnownRecipe]:
    """All that ship with the package, by name."""
    files = [path for path in resources.files(__package__).iterdir() if path.name.endswith(".yaml")]
    found = [KnownRecipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in files]
    return {known.name: known for known in sorted(found, key=lambda known: known.name)}


def known_for(*models: str, architecture: str | None = None) -> KnownRecipe | None:
    """Of the first of these hub ids or directories that is known. A directory is known by its name.

    architecture: of the checkpoint's config.json. Another family than the recipe's is another model of the same name.
    """
    names = {model.casefold(): known for known in known_recipes().values() for model in known.models}
    last = {name.rsplit("/", 1)[-1]: known for name, known in names.items()}
    for model in models:
        key = model.casefold()
        found = names.get(key) or last.get(_in_hub_cache(key) or Path(key).name)
        if found is not None and _same_family(found.architecture, architecture):
            return found
    return None


def _in_hub_cache(path: str) -> str | None:
    """The model's name in a path of the hub's cache: models--Qwen--Qwen3-Reranker-0.6B/snapshots/5f32…"""
    *_, folder, snapshots, _ = ("", "", "", *Path(path).parts)
    return folder.rsplit("--", 1)[-1] if snapshots == "snapshots" and folder.startswith("models--") else None


def _same_family(known: str, architecture: str | None) -> bool:
    """Whether two classes of transformers are one architecture with different heads; None: not known."""
    if architecture is None:
        return True
    first, second = (re.split(r"For[A-Z]|Model$", name)[0] for name in (known, architecture))
    return first.startswith(second) or second.startswith(first)


def recipe_named(name: str) -> Recipe:
    """A known recipe, or one from a YAML or JSON file of the user's. Raises CheckpointError."""
    known = known_recipes()
    if name in known:
        return known[name].recipe
    path = Path(name).expanduser()
    if not path.is_file():
        raise CheckpointError(f"recipe {name!r} is neither a file nor one of {', '.join(known)}")
    try:
        given: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        fields = {key: value for key, value in given.items() if key in Recipe.model_fields or key not in _DESCRIBES}
        return Recipe.model_validate({"name": path.stem, **fields})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        raise CheckpointError(f"{path} is no recipe: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(f"{path}: {'.'.join(map(str, first['loc'])) or 'recipe'}: {first['msg']}") from None


_DESCRIBES = KnownRecipe.model_fields.keys() - Recipe.model_fields.keys()
