"""Hugging Face's own forward: any sequence classifier with one logit, over padded batches.

Needs no pad token. Hugging Face's pooling of causal models refuses batches without one, so their base model is run
and the right token is pooled here. Other models are called unchanged, with padding masked.
"""

import inspect
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reranker.encoding import PairLayout
from reranker.engine.models import ForwardPass
from reranker.pairs import EncodedPairs

# Encoders known to honour an attention mask on the right. All other non-causal architectures get batches of equal
# lengths, which need no padding.
_MASKED_ENCODERS = frozenset(
    {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "modernbert", "mpnet"}
    | {"roberta", "xlm-roberta", "xlm-roberta-xl"}
)


class HuggingFaceModel:
    """See ScoringModel."""

    pads = True

    def __init__(self, module: PreTrainedModel, layout: PairLayout) -> None:
        self._module = module
        self._layout = layout
        config = module.config.get_text_config()
        self._pad_token_id: int | None = config.pad_token_id
        self._causal = isinstance(getattr(module, "score", None), nn.Linear)
        # With is_causal set, Hugging Face runs an encoder as causal in padded batches and as bidirectional in others.
        is_masked_encoder = config.model_type in _MASKED_ENCODERS and not getattr(config, "is_causal", False)
        self._maskable = self._causal or is_masked_encoder
        self._body = module.base_model if self._causal else module
        accepted = inspect.signature(self._body.forward).parameters
        self._has_types = "token_type_ids" in accepted and getattr(config, "type_vocab_size", 0) > 1
        self._extra = {"use_cache": False} if "use_cache" in accepted else {}

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        return partial(self._run, pairs)

    @torch.inference_mode()
    def _run(self, pairs: EncodedPairs) -> Tensor:
        lengths = pairs.lengths
        if not self._maskable and len(set(lengths.tolist())) > 1:
            logits = torch.empty(len(pairs))
            for length in np.unique(lengths):
                same = np.flatnonzero(lengths == length)
                logits[torch.from_numpy(same)] = self._run(pairs.take(same)).cpu()
            return logits
        device = next(self._module.parameters()).device
        ids = np.full((len(pairs), int(lengths.max())), self._pad_token_id or 0, dtype=np.int64)
        for pair, length in enumerate(lengths):
            ids[pair, :length] = pairs.pair_ids(pair)
        positions = np.arange(ids.shape[1])
        inputs = {"input_ids": torch.from_numpy(ids).to(device)}
        if lengths.min() < ids.shape[1]:
            mask = (positions < lengths[:, None]).astype(np.int64)
            inputs["attention_mask"] = torch.from_numpy(mask).to(device)
        if self._has_types:
            passage = positions >= (pairs.prefix_lengths - self._layout.middle_passage_typed)[:, None]
            types = np.where(passage, self._layout.passage_type, self._layout.prefix_type)
            inputs["token_type_ids"] = torch.from_numpy(types).to(device)
        output = self._body(**inputs, **self._extra)
        if not self._causal:
            return _column(output.logits)
        pooled = torch.from_numpy(self._pooled_positions(ids, lengths)).to(device)
        hidden = output.last_hidden_state[torch.arange(len(pairs), device=device), pooled]
        return _column(self._module.score(hidden))  # type: ignore[operator]

    def clear_cache(self) -> None:
        """There is no cache."""

    def _pooled_positions(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Where Hugging Face reads the logit: the last token, or the last one that is not the pad token.

        A passage may contain the pad token, so padding is told from text by the lengths.
        """
        inside = np.arange(ids.shape[1]) < lengths[:, None]
        if self._pad_token_id is not None:
            inside &= ids != self._pad_token_id
        last = ids.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
        return np.where(inside.any(axis=1), last, 0)


def _column(logits: Tensor) -> Tensor:
    return logits[:, 0].float()
