"""The groups of a training set with the targets that a run's teachers give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.training.data.training_set import TrainingSet
from cluster.training.teachers.scores import read_teacher, teacher_path
from reranker.errors import InvalidField
from reranker.pairs import FloatArray
from reranker.training.groups import Groups
from reranker.training.settings import TrainingSettings
from reranker.training.teacher import FIRST_STAGE, targets


def with_targets(settings: TrainingSettings, data: TrainingSet) -> Groups:
    """Raises InvalidFile or InvalidField for a teacher that does not fit the training set or the student."""
    groups = data.groups
    weights = settings.teacher.weights
    if not weights:
        return groups
    scores: dict[str, FloatArray] = {}
    for name in weights:
        if name == FIRST_STAGE:
            scores[name] = data.first_stage
            continue
        scores[name], about = read_teacher(teacher_path(Path(settings.data), name), data)
        _refuse_other_template(name, about, settings)
    return Groups(groups.offsets, groups.passages, groups.labels, targets(groups, scores, settings.teacher))


def _refuse_other_template(name: str, about: dict[str, Any], settings: TrainingSettings) -> None:
    """A bi-encoder reads no pairs, so it has no template."""
    template = about.get("template")
    if template is None or template == settings.student.template or settings.teacher.other_templates:
        return
    raise InvalidField(
        f"teacher.weights.{name}",
        f"{about.get('model')} scored with the template {template!r}, and the student reads "
        f"{settings.student.template!r}: set student.template to {template!r}, or teacher.other_templates to true if "
        "its scores are meant",
    )
