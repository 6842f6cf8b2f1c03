"""`reranker.json`: what a checkpoint says of itself beside its config.

How pairs are written belongs to the checkpoint, and so do its golden scores: texts, token ids and logits that
Hugging Face computed, replayed before a replica serves.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from reranker.errors import CheckpointError

CARD_NAME = "reranker.json"


class GoldenPair(BaseModel):
    """One pair with what Hugging Face made of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str
    title: str
    text: str
    input_ids: tuple[int, ...]
    logit: float = Field(description="In float32.")
    logit_bfloat16: float = Field(description="In bfloat16: how far off half precision honestly is.")


class CheckpointCard(BaseModel):
    """The file's content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    template: Literal["dear", "plain"]
    max_pair_tokens: PositiveInt
    made_with: str = Field("", description="Versions of torch and transformers that made the golden scores.")
    golden: tuple[GoldenPair, ...] = ()


def read_card(directory: Path) -> CheckpointCard | None:
    """The card in a checkpoint directory, None where there is no such file. Raises CheckpointError."""
    path = directory / CARD_NAME
    if not path.is_file():
        return None
    try:
        return CheckpointCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise CheckpointError(f"{path}: {field}: {first['msg']}: import the checkpoint again") from None


def write_card(directory: Path, card: CheckpointCard) -> None:
    (directory / CARD_NAME).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
