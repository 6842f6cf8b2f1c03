"""The model card's own loop with Hugging Face: what "the same score" is measured against.

Deliberately naive and slow, one pair at a time, so that no batching or padding can be at fault.
"""

from collections.abc import Iterable

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from reranker.prompt import PromptTemplate
from reranker.types import FloatArray, Passage


@torch.inference_mode()
def reference_logits(
    module: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    max_pair_tokens: int,
    pairs: Iterable[tuple[str, Passage]],
) -> FloatArray:
    """Logits of (query, passage) pairs in order, float32 (pairs,), computed in the module's own dtype."""
    device = next(module.parameters()).device
    logits = []
    for query, passage in pairs:
        inputs = tokenizer(
            template.query(query),
            template.passage(passage),
            truncation="longest_first",
            max_length=max_pair_tokens,
            return_tensors="pt",
        ).to(device)
        logits.append(module(**inputs).logits.float().flatten().item())
    return np.array(logits, dtype=np.float32)
