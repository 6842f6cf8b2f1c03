"""How a checkpoint's pairs are written and its scores are read. Values only: no files, tokens or weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator, model_validator

from reranker.prompt import BARE, PromptTemplate, template_named

VOCABULARY_ID = "id:"  # in front of an id, where a token has no name

ScoreKind = Literal["classifier", "tokens", "first_decoded"]
Pooling = Literal["last", "padded", "mean"]
Activation = Literal["sigmoid", "identity"]


class Score(BaseModel):
    """What the logit is: a classifier's, or a weighted sum of a language model's logits of some tokens.

    kind: "tokens" reads them at the last token of a pair, "first_decoded" at the first step of a T5's decoder.
    tokens: weight by token, which is written as text that is one token, or as "id:" and its vocabulary id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ScoreKind = "classifier"
    tokens: Mapping[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _tokens_mean_a_language_model(cls, given: Any) -> Any:
        return {"kind": "tokens", **given} if isinstance(given, Mapping) and given.get("tokens") else given

    @field_validator("tokens", mode="before")
    @classmethod
    def _numbers_are_ids(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            f"{VOCABULARY_ID}{token}" if isinstance(token, int) else token: weight for token, weight in given.items()
        }

    @model_validator(mode="after")
    def _has_tokens_if_it_reads_any(self) -> Self:
        if (self.kind == "classifier") == bool(self.tokens):
            raise ValueError("name the tokens that carry the score, or leave the score to a classifier")
        if self.tokens and not all(self.tokens.values()):
            raise ValueError("a token of weight 0 carries no score: leave it out")
        return self


CLASSIFIER = Score()


class Recipe(BaseModel):
    """How to run a checkpoint as its authors do.

    max_pair_tokens: None where the checkpoint's own limit holds. pooling: which token's hidden state gives the score
    of a decoder: the last one, a pad token behind it ("padded", see `checkpoints.pooling`), or the mean of all.
    attention: None as the architecture has it. activation: what a relevance score is of the logit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    template: PromptTemplate = BARE
    max_pair_tokens: PositiveInt | None = None
    score: Score = CLASSIFIER
    pooling: Pooling | None = None
    attention: Literal["causal", "bidirectional"] | None = None
    activation: Activation = "sigmoid"

    def scores_as(self, other: Recipe) -> bool:
        """Whether both give a pair the same score, if both are told the same instruction."""
        changes = {"name": "", "activation": "sigmoid"}
        mine, others = (
            recipe.model_copy(
                update=changes | {"template": recipe.template.model_copy(update={"name": "", "instruction": None})}
            )
            for recipe in (self, other)
        )
        return mine == others

    @model_validator(mode="before")
    @classmethod
    def _template_is_called_as_the_recipe(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        template = given.get("template")
        if isinstance(template, str):
            return {**given, "template": template_named(template)}
        if isinstance(template, Mapping) and "name" in given:
            return {**given, "template": {"name": given["name"], **template}}
        return given


BARE_CLASSIFIER = Recipe(name="bare")
