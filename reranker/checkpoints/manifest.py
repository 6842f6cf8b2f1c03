"""The manifest `reranker.json` beside a checkpoint's config: pair template, max pair length and golden scores.

Golden scores are texts with the token ids and logits that Hugging Face computed; they are replayed before a replica
serves.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError

from reranker.errors import CheckpointError

MANIFEST_NAME = "reranker.json"


def _current_template_name(name: object) -> object:
    """Manifests of version 0.1 call the bare template "plain"."""
    return "bare" if name == "plain" else name


class GoldenPair(BaseModel):
    """One pair with Hugging Face's token ids and logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    title: str
    text: str
    input_ids: tuple[int, ...]
    logit: float = Field(description="In float32.")
    logit_bfloat16: float = Field(description="In bfloat16: its error shows what half precision costs.")


class Manifest(BaseModel):
    """Content of `reranker.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    template: Annotated[Literal["dear", "bare"], BeforeValidator(_current_template_name)]
    max_pair_tokens: PositiveInt
    pooling: Literal["last", "padded"] = Field("last", description="Where the golden logits were read.")
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
