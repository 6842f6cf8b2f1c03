"""The manifest `reranker.json` beside a checkpoint's config: its recipe, and golden scores.

Golden scores are texts with the token ids and logits that the authors' own loop computed; they are replayed before a
replica serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reranker.errors import CheckpointError
from reranker.prompt import template_named
from reranker.recipe import Recipe

MANIFEST_NAME = "reranker.json"
_IN_RECIPE = ("max_pair_tokens", "pooling")  # keys of version 1


class GoldenPair(BaseModel):
    """One pair with the reference's token ids and logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    title: str
    text: str
    input_ids: tuple[int, ...]
    logit: float = Field(description="In float32.")
    logit_bfloat16: float = Field(description="In bfloat16: its error shows what half precision costs.")


class Manifest(BaseModel):
    """Content of `reranker.json`. Version 1, whose template is a name, is read as well."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    recipe: Recipe
    token_types: bool | None = Field(
        None, description="Whether the model is given token type ids; None in older manifests: the tokenizer decides."
    )
    forward: Literal["auto", "huggingface"] = Field(
        "auto", description="The forward that reproduces the golden scores."
    )
    config: dict[str, Any] | None = Field(
        None, description="config.json as imported; of an adapter, its base model's. None in older manifests."
    )
    made_with: str = Field("", description="Versions of torch and transformers that computed the golden scores.")
    golden: tuple[GoldenPair, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or given.get("version", 1) != 1 or "recipe" in given:
            return given
        name = str(given.get("template"))
        name = {"plain": "bare"}.get(name, name)  # its name in version 0.1
        others = {key: value for key, value in given.items() if key not in ("version", "template", *_IN_RECIPE)}
        recipe = {key: given[key] for key in _IN_RECIPE if key in given}
        return {**others, "recipe": {"name": name, "template": template_named(name), "pooling": "last", **recipe}}

    @model_validator(mode="after")
    def _says_how_long_a_pair_is(self) -> Self:
        if self.recipe.max_pair_tokens is None:
            raise ValueError("max_pair_tokens is missing")
        return self

    @property
    def max_pair_tokens(self) -> int:
        return self.recipe.max_pair_tokens or 0  # never 0: see above


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest in a checkpoint directory; None without the file. Raises CheckpointError for an invalid one."""
    path = directory / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise CheckpointError(f"{path}: {field}: {first['msg']}: import the checkpoint again") from None


def write_manifest(directory: Path, manifest: Manifest) -> None:
    (directory / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
