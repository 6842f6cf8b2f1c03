"""Losses over groups of candidates, one group per query.

Every loss has the signature `(logits, targets, real) -> per-query losses`:
logits: (queries, candidates), the student's, any floating dtype; computed in float32.
labels, teacher: (queries, candidates), float. real: bool (queries, candidates), false for padding, whose values are
ignored. Returns float32 (queries,), in nats (MarginMSE: squared logits). A group that says nothing, with a single
candidate or where nothing differs, has loss 0 and no gradient: it still counts where a mean over queries is taken, so
that a step's loss does not depend on how groups are spread over workers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ranknet(logits: Tensor, labels: Tensor, real: Tensor) -> Tensor:
    """Mean logistic loss over the pairs whose labels differ: log(1 + exp(-(s_i - s_j))) where label i > label j.

    Source: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005.
    """
    better = labels[:, :, None] > labels[:, None, :]
    return _mean_over(better & _pairs(real), functional.softplus(-_differences(logits)))


def soft_ranknet(logits: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Mean cross-entropy over all pairs between sigmoid(t_i - t_j) and sigmoid(s_i - s_j).

    Source: the same, with target probabilities as in its equation 3. Where no teacher score of a group differs, every
    target is 1/2, which would pull the student's logits together, so such a group has loss 0.
    """
    target = torch.sigmoid(_differences(teacher))
    pairs = _pairs(real) & torch.ones_like(target, dtype=torch.bool).triu_(1)
    loss = functional.binary_cross_entropy_with_logits(_differences(logits), target, reduction="none")
    return torch.where(_differ(teacher, real), _mean_over(pairs, loss), 0.0)


def kl_distillation(logits: Tensor, teacher: Tensor, real: Tensor, temperature: float = 2.0) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(logits / T)), so that gradients do not shrink as T grows.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
    """
    log_student = _log_softmax(logits / temperature, real)
    log_teacher = _log_softmax(teacher / temperature, real)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).masked_fill(~real, 0.0).sum(1)
    return temperature**2 * torch.where(real.sum(1) > 1, divergence, 0.0)


def ranknet_with_distillation(
    logits: Tensor, labels: Tensor, teacher: Tensor, real: Tensor, alpha: float = 0.1, temperature: float = 2.0
) -> Tensor:
    """(1 - alpha) * RankNet on labels + alpha * KL to the teacher, as DeAR-8B-Reranker-RankNet was trained.

    Source: Abdallah et al., "DeAR: Dual-Stage Document Reranking with Reasoning Agents via LLM Distillation", 2025.
    """
    return (1 - alpha) * ranknet(logits, labels, real) + alpha * kl_distillation(logits, teacher, real, temperature)


def margin_mse(logits: Tensor, labels: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Mean squared error of the margins between candidates with a higher and a lower label.

    Source: Hofstätter et al., "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
    Distillation", 2020.
    """
    better = labels[:, :, None] > labels[:, None, :]
    return _mean_over(better & _pairs(real), (_differences(logits) - _differences(teacher)).square())


def listnet(logits: Tensor, targets: Tensor, real: Tensor) -> Tensor:
    """Cross-entropy between softmax(targets) and softmax(logits): ListNet's top-one probabilities.

    Source: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007.
    """
    target = _log_softmax(targets, real).exp()
    loss = -(target * _log_softmax(logits, real)).masked_fill(~real, 0.0).sum(1)
    return torch.where(_differ(targets, real), loss, 0.0)


def info_nce(logits: Tensor, labels: Tensor, real: Tensor) -> Tensor:
    """Mean over positives (label > 0) of the negative log softmax of each against all that are not positive.

    Source: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018; several
    positives as in Khosla et al., "Supervised Contrastive Learning", 2020.
    """
    logits = logits.float()
    positive, negative = real & (labels > 0), real & (labels <= 0)
    others = logits.masked_fill(~negative, -torch.inf).logsumexp(1, keepdim=True)
    # Without a negative, `others` is -inf, whose gradient is NaN: the group says nothing.
    usable = positive.any(1) & negative.any(1)
    others = torch.where(usable[:, None], others, 0.0)
    loss = torch.logaddexp(logits, others) - logits
    count = positive.sum(1).clamp(min=1)
    return torch.where(usable, loss.masked_fill(~positive, 0.0).sum(1) / count, 0.0)


def _differences(scores: Tensor) -> Tensor:
    """(queries, candidates) -> float32 (queries, candidates, candidates): i minus j."""
    scores = scores.float()
    return scores[:, :, None] - scores[:, None, :]


def _pairs(real: Tensor) -> Tensor:
    return real[:, :, None] & real[:, None, :]


def _differ(targets: Tensor, real: Tensor) -> Tensor:
    """bool (queries,): whether any two targets of a group differ."""
    highest = targets.masked_fill(~real, -torch.inf).amax(1)
    lowest = targets.masked_fill(~real, torch.inf).amin(1)
    return highest > lowest


def _mean_over(pairs: Tensor, loss: Tensor) -> Tensor:
    """Mean of (queries, candidates, candidates) over the marked pairs of each query, 0 where there are none."""
    return loss.masked_fill(~pairs, 0.0).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def _log_softmax(scores: Tensor, real: Tensor) -> Tensor:
    """Log probabilities over the real candidates, float32; padding has the lowest float instead of -inf, so that a
    product with a probability of 0 is not NaN."""
    lowest = torch.finfo(torch.float32).min
    return torch.log_softmax(scores.float().masked_fill(~real, lowest), 1)
