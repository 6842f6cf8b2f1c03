"""The same steps over Hugging Face's own forward: batches of pairs in the order they come, padded to the longest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cluster.bench.training.stepper import stepper
from reranker.engine.models.packed import Sequences, token_types
from reranker.engine.models.transfer import on_device
from reranker.pairs import EncodedPairs
from reranker.training.packed import PackedStudent

PACKAGES = ("dear-reranker", "transformers", "torch")
_OWN_ATTENTION = "sdpa"


def load(settings: dict[str, Any]) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], list[str]]:
    def padding(student: PackedStudent) -> PackedStudent:
        return PaddedStudent(student, settings["batch_pairs"])

    return stepper(settings, padding), [f"{settings['batch_pairs']} pairs at once, padded to their longest"]


class PaddedStudent(PackedStudent):
    """A PackedStudent that pads instead. student: gives its module and layout away."""

    def __init__(self, student: PackedStudent, batch_pairs: int) -> None:
        super().__init__(student.module, student._layout)
        self.hugging_face.set_attn_implementation(_OWN_ATTENTION)
        self._batch_pairs = batch_pairs

    def pack(self, pairs: EncodedPairs, device: torch.device) -> list[dict[str, Tensor]]:  # type: ignore[override]
        """The keyword arguments of each batch: tensors of (pairs, longest)."""
        return [
            self._batch(pairs, range(first, min(first + self._batch_pairs, len(pairs))), device)
            for first in range(0, len(pairs), self._batch_pairs)
        ]

    def forward(self, batches: list[dict[str, Tensor]]) -> Tensor:  # type: ignore[override]
        return torch.cat([self.module(**batch).logits.reshape(-1) for batch in batches])

    def _batch(self, pairs: EncodedPairs, chosen: range, device: torch.device) -> dict[str, Tensor]:
        parts, prefixes = [pairs.pair_ids(pair) for pair in chosen], pairs.prefix_lengths[chosen.start : chosen.stop]
        longest = max(map(len, parts))
        ids = torch.zeros(len(parts), longest, dtype=torch.int64)
        mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, (part, prefix) in enumerate(zip(parts, prefixes, strict=True)):
            ids[row, : len(part)], mask[row, : len(part)] = torch.from_numpy(part), 1
            if self._has_types:
                one = token_types(Sequences.pack([part]), prefix[None], self._layout)
                types[row, : len(part)] = torch.from_numpy(one)
        batch = {"input_ids": ids, "attention_mask": mask}
        if self._has_types:
            batch["token_type_ids"] = types
        return {name: on_device(value.numpy(), device) for name, value in batch.items()}
