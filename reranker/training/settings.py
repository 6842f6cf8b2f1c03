"""What a training run does, as read from its config file. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from reranker.settings import Settings

LossName = Literal["ranknet", "soft_ranknet", "kl", "margin_mse", "listnet", "info_nce"]
NEEDS_TEACHER = frozenset({"soft_ranknet", "kl", "margin_mse"})


class LossSettings(Settings):
    """The loss: a weighted sum of terms. The default is the recipe of DeAR-8B-Reranker-RankNet."""

    terms: Mapping[LossName, PositiveFloat] = Field(
        {"ranknet": 0.9, "kl": 0.1}, min_length=1, description="Weight of each term."
    )
    temperature: PositiveFloat = Field(2.0, description="Temperature of the `kl` term.")

    @property
    def needs_teacher(self) -> bool:
        return not NEEDS_TEACHER.isdisjoint(self.terms)


Normalise = Literal["none", "zscore", "max"]


class TeacherWeight(Settings):
    """One teacher's part in the targets."""

    weight: float = Field(description="Factor of its normalised scores.")
    normalise: Normalise = Field(description="How its scores are normalised, instead of `teacher.normalise`.")


class TeacherSettings(Settings):
    """How scores of one or several teachers become targets.

    A query's targets are sum(weight * normalised scores) * scale + positive_bonus * label, in the unit of a logit.
    """

    weights: Mapping[str, float | TeacherWeight] = Field(
        {},
        description="Weight of each teacher, by the name of its file; 'first_stage' is the first stage's score. "
        "{weight, normalise} normalises one teacher's scores in its own way.",
    )
    normalise: Normalise = Field(
        "none",
        description="Per query and teacher: nothing, mean 0 and deviation 1, or division by the highest score.",
    )
    other_templates: bool = Field(
        False, description="Accept a cross-encoder that scored with another pair template than the student's."
    )
    scale: PositiveFloat = Field(1.0, description="Factor from normalised scores to logits.")
    positive_bonus: float = Field(0.0, description="Added to the target of a labelled passage, times its label.")
    false_negative_margin: float | None = Field(
        None, description="Leave out negatives whose target is not this much below the positive's; null keeps all."
    )

    def parts(self) -> Iterator[tuple[str, float, Normalise]]:
        """(name, weight, normalise) of each teacher."""
        for name, entry in self.weights.items():
            if isinstance(entry, TeacherWeight):
                yield name, entry.weight, entry.normalise
            else:
                yield name, entry, self.normalise


class LoraSettings(Settings):
    """Low-rank adapters instead of full fine-tuning."""

    rank: PositiveInt = Field(16, description="Rank of the adapters.")
    alpha: PositiveInt = Field(32, description="Scale of the adapters, divided by the rank.")
    targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Linear layers that get an adapter.",
    )


class StepSettings(Settings):
    """What one optimizer step reads and how it changes the weights."""

    queries_per_step: PositiveInt = Field(32, description="Queries of one optimizer step, over all workers.")
    negatives: PositiveInt = Field(15, description="Candidates of a query beside its positive, per step.")
    micro_batch_tokens: PositiveInt = Field(
        16_384, description="Max tokens on a device at once; a step of more is accumulated."
    )
    steps: PositiveInt | None = Field(None, description="Optimizer steps; null takes `epochs`.")
    epochs: PositiveFloat = Field(1.0, description="Passes over all queries.")
    learning_rate: PositiveFloat = Field(2e-5, description="Highest learning rate.")
    head_learning_rate: PositiveFloat | None = Field(
        None, description="Highest learning rate of the head; null: same."
    )
    warmup_steps: NonNegativeInt = Field(100, description="Steps over which the learning rate rises from 0.")
    decay: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="How it falls, to 0 at the last step."
    )
    weight_decay: NonNegativeFloat = Field(0.01, description="AdamW's weight decay; norms and biases have none.")
    clip_norm: PositiveFloat = Field(1.0, description="Max norm of a step's gradient.")
    average_last: float = Field(
        0.0, ge=0, lt=1, description="Write the mean of the weights over this last part of the steps; 0 is the last."
    )
    seed: NonNegativeInt = Field(0, description="Seed of the order of queries, of candidates and of a new head.")


class EvaluationSettings(Settings):
    """The held collection that decides which step's weights are best."""

    collection: str | None = Field(
        None, description="Directory of a collection in BEIR form with a first-stage run; null evaluates nothing."
    )
    depth: PositiveInt = Field(100, description="Candidates of the first-stage run that are reranked.")
    every_steps: PositiveInt = Field(200, description="Steps between two evaluations.")
    patience: PositiveInt | None = Field(
        None, description="Stop after this many evaluations without a better nDCG@10; null never stops."
    )


class StudentSettings(Settings):
    """The model that is trained."""

    model: str = Field("embedded", min_length=1, description="Where it starts: a checkpoint directory or hub id.")
    template: Literal["dear", "bare"] = Field("dear", description="Pair template.")
    max_pair_tokens: PositiveInt = Field(228, description="Max tokens of query and passage together.")
    new_head: bool = Field(False, description="Give a model without a one-logit head a new, random one.")
    lora: LoraSettings | None = Field(None, description="Train low-rank adapters; null trains all weights.")
    frozen: tuple[str, ...] = Field((), description="Parts of parameter names that are not trained.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations to save memory.")


class TrainingSettings(Settings):
    """A whole run."""

    data: str = Field(description="Directory that `reranker train data` wrote.")
    output: str = Field(description="Directory for checkpoints, curves and the trained model.")
    student: StudentSettings = StudentSettings()
    loss: LossSettings = LossSettings()
    teacher: TeacherSettings = TeacherSettings()
    step: StepSettings = StepSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Arithmetic of matrix products; weights and optimizer stay float32."
    )
    checkpoint_every_steps: PositiveInt = Field(500, description="Steps between two checkpoints to resume from.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.loss.needs_teacher and not self.teacher.weights:
            needing = ", ".join(sorted(NEEDS_TEACHER.intersection(self.loss.terms)))
            raise ValueError(f"the loss {needing} needs a teacher: name one under teacher.weights")
        return self
