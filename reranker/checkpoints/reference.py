"""The model card's own loop with Hugging Face: the reference for our scores.

Deliberately simple and slow: one pair at a time, so that neither batching nor padding can cause errors.
"""

from collections.abc import Iterable

import numpy as np
import torch
from transformers import BatchEncoding, PreTrainedTokenizerBase

from reranker.pairs import FloatArray
from reranker.prompt import PromptTemplate
from reranker.types import Passage


@torch.inference_mode()
def reference_logits(
    module: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    max_pair_tokens: int,
    pairs: Iterable[tuple[str, Passage]],
    *,
    padded: bool = False,
) -> FloatArray:
    """Logits of (query, passage) pairs in order, float32 (pairs,), computed in the module's own dtype.

    padded: pad every pair to the max length, as DeAR's quick start does.
    """
    device = next(module.parameters()).device
    logits = []
    for query, passage in pairs:
        inputs = reference_inputs(tokenizer, template, max_pair_tokens, query, passage, padded=padded).to(device)
        logits.append(module(**inputs).logits.float().flatten().item())
    return np.array(logits, dtype=np.float32)


def reference_inputs(
    tokenizer: PreTrainedTokenizerBase,
    template: PromptTemplate,
    max_pair_tokens: int,
    query: str,
    passage: Passage,
    *,
    padded: bool = False,
) -> BatchEncoding:
    """One pair as Hugging Face tokenizes it, tensors of shape (1, tokens).

    Passes lists of one, as CrossEncoder does: given two strings, Hugging Face takes an empty passage for no passage
    and leaves out the special tokens between the two.
    """
    inputs: BatchEncoding = tokenizer(
        [template.query(query)],
        [template.passage(passage)],
        truncation="longest_first",
        max_length=max_pair_tokens,
        padding="max_length" if padded else False,
        return_tensors="pt",
    )
    return inputs
