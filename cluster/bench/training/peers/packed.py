"""This project's training step, from text to updated weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.bench.training.stepper import stepper
from reranker.training.packed import PackedStudent

PACKAGES = ("dear-reranker", "transformers", "torch")


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    def unchanged(student: PackedStudent) -> PackedStudent:
        return student

    return stepper(settings, unchanged), []
