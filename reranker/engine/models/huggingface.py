"""Hugging Face's own forward, over padded batches: sequence classifiers with one logit, and language models.

Needs no pad token. Hugging Face's pooling of causal models refuses batches without one, so their base model is run
and the right token is pooled here. Of a causal language model's logits only those are computed that carry the score.
Other models are called unchanged, with padding masked.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig

from reranker.engine.models import ForwardPass
from reranker.layout import PadToken, PairLayout
from reranker.pairs import EncodedPairs, IntArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Encoders known to honour an attention mask on the right. All other non-causal architectures get batches of equal
# lengths, which need no padding.
_MASKED_ENCODERS = frozenset(
    {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "modernbert", "mpnet"}
    | {"roberta", "xlm-roberta", "xlm-roberta-xl"}
)


class HuggingFaceModel:
    """See ScoringModel."""

    pads = True

    def __init__(
        self,
        module: PreTrainedModel,
        layout: PairLayout,
        pad: PadToken | None = None,
        token_weights: Mapping[int, float] = MappingProxyType({}),
    ) -> None:
        """pad: read logits at this pad token of padded pairs; None reads them at the last token. token_weights: of a
        language model's tokens in the logit, by vocabulary id; empty for a classifier.
        """
        self._module = module
        self._layout = layout
        self._pad = pad
        config = module.config.get_text_config()
        self._pad_token_id: int | None = config.pad_token_id
        self._fill = _fill_token(module, pad)
        self._decodes = bool(token_weights) and bool(config.is_encoder_decoder)
        self._tokens = _TokenHead(module, token_weights) if token_weights else None
        reads_last = self._tokens is not None and not self._decodes
        self._causal = reads_last or isinstance(getattr(module, "score", None), nn.Linear)
        # With is_causal set, Hugging Face runs an encoder as causal in padded batches and as bidirectional in others.
        is_masked_encoder = config.model_type in _MASKED_ENCODERS and not getattr(config, "is_causal", False)
        self._maskable = self._causal or self._decodes or is_masked_encoder
        self._body = module.base_model if self._causal else module
        accepted = inspect.signature(self._body.forward).parameters
        takes_types = "token_type_ids" in accepted and getattr(config, "type_vocab_size", 0) > 1
        self._sends_types = takes_types and layout.sends_types
        self._rope_switches = _rope_switches(config)
        self._dynamic_ropes = list(_dynamic_ropes(module))
        self._extra = {"use_cache": False} if "use_cache" in accepted else {}

    def pass_tokens(self, lengths: IntArray) -> IntArray:
        return lengths if self._pad is None else np.full_like(lengths, self._pad.position + 1)

    def prepare(self, pairs: EncodedPairs) -> ForwardPass:
        return partial(self._run, pairs)

    @torch.inference_mode()
    def _run(self, pairs: EncodedPairs) -> Tensor:
        lengths = pairs.lengths
        columns = int(self.pass_tokens(lengths).max())
        groups = self._groups(lengths)
        if (groups != groups[0]).any():
            logits = torch.empty(len(pairs))
            for group in np.unique(groups):
                same = np.flatnonzero(groups == group)
                logits[torch.from_numpy(same)] = self._run(pairs.take(same)).cpu()
            return logits
        for rope, beginning in self._dynamic_ropes:  # else a rope keeps the frequencies of the longest pair before
            setattr(rope, f"{beginning}max_seq_len_cached", rope.original_max_seq_len)
            frequencies = getattr(rope, f"{beginning}original_inv_freq")
            setattr(rope, f"{beginning}inv_freq", frequencies.to(getattr(rope, f"{beginning}inv_freq").device))
        device = next(self._module.parameters()).device
        ids = np.full((len(pairs), columns), self._fill, dtype=np.int64)
        for pair, length in enumerate(lengths):
            ids[pair, :length] = pairs.pair_ids(pair)
        positions = np.arange(ids.shape[1])
        inputs = {"input_ids": torch.from_numpy(ids).to(device)}
        if lengths.min() < ids.shape[1]:
            mask = (positions < lengths[:, None]).astype(np.int64)
            inputs["attention_mask"] = torch.from_numpy(mask).to(device)
        if self._sends_types:
            passage = positions >= (pairs.prefix_lengths - self._layout.middle_passage_typed)[:, None]
            types = np.where(passage, self._layout.passage_type, self._layout.prefix_type)
            inputs["token_type_ids"] = torch.from_numpy(types).to(device)
        if self._decodes:
            start = self._module.config.decoder_start_token_id
            inputs["decoder_input_ids"] = torch.full((len(pairs), 1), start, device=device)
        output = self._body(**inputs, **self._extra)
        if self._tokens is not None and self._decodes:
            return self._tokens.of_logits(output.logits[:, 0])
        if not self._causal:
            return _column(output.logits)
        read = lengths - 1 if self._tokens is not None else self._pooled_positions(ids, self.pass_tokens(lengths))
        at = torch.from_numpy(read).to(device)
        hidden = output.last_hidden_state[torch.arange(len(pairs), device=device), at]
        if self._tokens is not None:
            return self._tokens(hidden)
        return _column(self._module.score(hidden))  # type: ignore[operator]

    def clear_cache(self) -> None:
        """There is no cache."""

    def _groups(self, lengths: IntArray) -> np.ndarray:
        """int (pairs,), equal for pairs that may share a pass: others would change their logits.

        Hugging Face computes some rotary embeddings from the longest pair of the batch.
        """
        if self._pad is not None:
            return np.zeros_like(lengths)  # padding makes all pairs equally long
        if not self._maskable:
            return lengths
        for rope, _ in self._dynamic_ropes:
            return np.where(lengths > rope.original_max_seq_len, lengths, 0)
        return np.searchsorted(self._rope_switches, lengths)

    def _pooled_positions(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Where Hugging Face reads the logit: the last token, or the last one that is not the pad token.

        A passage may contain the pad token, so padding is told from text by the lengths.
        """
        inside = np.arange(ids.shape[1]) < lengths[:, None]
        if self._pad_token_id is not None:
            inside &= ids != self._pad_token_id
        last = ids.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
        return np.where(inside.any(axis=1), last, 0)


class _TokenHead:
    """The weighted sum of some tokens' logits. Only their rows of the head are multiplied, in float32."""

    def __init__(self, module: PreTrainedModel, token_weights: Mapping[int, float]) -> None:
        self._ids = list(token_weights)
        head: Any = module.get_output_embeddings()
        self._rows = head.weight[self._ids].float()
        self._bias = None if getattr(head, "bias", None) is None else head.bias[self._ids].float()
        self._weights = torch.tensor(list(token_weights.values()), device=self._rows.device)
        config = module.config.get_text_config()
        self._scale = getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1)
        self._cap: float | None = getattr(config, "final_logit_softcapping", None)

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: (pairs, width), normed. Returns logits, float32 (pairs,)."""
        logits = functional.linear(hidden.float(), self._rows, self._bias) * self._scale
        if self._cap is not None:
            logits = torch.tanh(logits / self._cap) * self._cap
        return logits @ self._weights

    def of_logits(self, logits: Tensor) -> Tensor:
        """logits: (pairs, vocabulary)."""
        return logits[:, self._ids].float() @ self._weights


def _fill_token(module: PreTrainedModel, pad: PadToken | None) -> int:
    """What fills a batch behind shorter pairs. A config's pad id may be -1, or have no embedding."""
    if pad is not None:
        return pad.token_id
    known: int | None = module.config.get_text_config().pad_token_id
    if known is None or known < 0:
        return 0
    try:
        table = module.get_input_embeddings()
    except NotImplementedError:  # a checkpoint's own code need not have this method
        return known
    return known if not isinstance(table, nn.Embedding) or known < table.num_embeddings else 0


def _dynamic_ropes(module: nn.Module) -> Iterator[tuple[Any, str]]:
    """Ropes whose frequencies depend on the longest pair's length, and what the names of their values begin with.

    A rope may have one kind for all layers, or one for each type of layers.
    """
    for part in module.modules():
        kinds = getattr(part, "rope_type", None)
        if kinds == "dynamic":
            yield part, ""
        elif isinstance(kinds, dict):
            for layers in (name for name, kind in kinds.items() if kind == "dynamic"):
                yield part, f"{layers}_"


def _rope_switches(config: PretrainedConfig) -> list[int]:
    """The lengths beyond which a longrope model uses other frequencies, ascending.

    rope_parameters: of the model, or of each type of layer.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    ropes = [parameters, *(rope for rope in parameters.values() if isinstance(rope, dict))]
    return sorted(rope["original_max_position_embeddings"] for rope in ropes if rope.get("rope_type") == "longrope")


def _column(logits: Tensor) -> Tensor:
    return logits[:, 0].float()
