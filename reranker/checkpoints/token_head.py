"""A causal language model read as a classifier: its one logit is a weighted sum of rows of the LM head.

Rerankers such as Qwen3-Reranker answer with one token: the score is logit(yes) - logit(no) at the last token. That is
linear in the hidden state, so the rows are summed once, in float32, and the sum is the head of a classifier: no
other logit of the vocabulary is computed, and no other row is read.

The sum comes before any rounding. The difference of two bf16 logits was off by 0.0017 on average and 0.013 at most,
and by 0.0049 and 0.057 where both had a common part three times as large (20,000 random states, random rows, width
1024, scores of standard deviation 1.4). The sum is off by none of it; rounded to bf16 it would be by 0.0024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reranker.checkpoints.weights import Weights
from reranker.errors import CheckpointError, MissingWeights

_SCORE = "score.weight"
_LM_HEAD = "lm_head.weight"
_EMBEDDINGS = "model.embed_tokens.weight"


class TokenHead:
    """The tensors of a causal LM, and `score.weight`, which no causal LM has. See Weights.

    token_weights: by token id, what its logit is multiplied with: {yes: 1, no: -1}. tied: the config's
    `tie_word_embeddings`. As in Hugging Face, a file that holds an LM head none the less is taken at its word.

    Raises CheckpointError without a token, MissingWeights without an LM head.
    """

    def __init__(self, weights: Weights, token_weights: Mapping[int, float], *, tied: bool) -> None:
        if not token_weights:
            raise CheckpointError("no token carries the score: name one, or two with weights of 1 and -1")
        self._weights = weights
        self._token_weights = dict(token_weights)
        if _LM_HEAD not in weights and not tied:
            raise MissingWeights(
                f"the weights have no {_LM_HEAD}, and the config does not tie it to the embeddings: "
                "is it a causal language model?"
            )
        self._table = _LM_HEAD if _LM_HEAD in weights else _EMBEDDINGS

    def __contains__(self, name: str) -> bool:
        return name == _SCORE or name in self._weights

    def read(self, *names: str, shape: Sequence[int], dtype: torch.dtype, device: str) -> Tensor:
        """See Weights. Of `score.weight`, shape (1, width). Raises CheckpointError for a token id that has no row."""
        if names != (_SCORE,):
            return self._weights.read(*names, shape=shape, dtype=dtype, device=device)
        rows = self._weights.rows(self._table, list(self._token_weights))
        if (1, rows.shape[1]) != tuple(shape):
            raise CheckpointError(
                f"rows of {self._table} have {rows.shape[1]} columns, where the config requires {shape[-1]}"
            )
        weights = torch.tensor(list(self._token_weights.values()), dtype=torch.float32)
        return (weights[:, None] * rows).sum(0, keepdim=True).to(device, dtype)

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        return self._weights.rows(name, indices)


def logit_cap_of(final_logit_softcapping: float | None, token_weights: Mapping[int, float]) -> float | None:
    """c where the score is c tanh(logit / c), as in Gemma 2; None where logits are not capped.

    final_logit_softcapping: of the config. Raises CheckpointError where the capped score is no function of one logit.
    """
    if final_logit_softcapping is not None and [abs(weight) for weight in token_weights.values()] != [1]:
        raise CheckpointError(
            f"the config caps logits at {final_logit_softcapping}, so a sum of several, or a multiple of one, cannot "
            "be computed as one logit: score with one token of weight 1, or use Hugging Face's forward"
        )
    return final_logit_softcapping
