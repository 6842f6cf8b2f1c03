"""Losses against an independent evaluation of their formulas in numpy, and against numerical gradients."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reranker.training import losses

T = 2.0


def log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max()
    return shifted - np.log(np.exp(shifted).sum())


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def ranknet(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    terms = [np.log1p(np.exp(-(s[i] - s[j]))) for i in range(len(s)) for j in range(len(s)) if y[i] > y[j]]
    return float(np.mean(terms)) if terms else 0.0


def soft_ranknet(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    if len(set(t)) < 2:
        return 0.0
    terms = []
    for i in range(len(s)):
        for j in range(i + 1, len(s)):
            p, q = sigmoid(t[i] - t[j]), sigmoid(s[i] - s[j])
            terms.append(-p * np.log(q) - (1 - p) * np.log(1 - q))
    return float(np.mean(terms))


def kl(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    p = log_softmax(t / T)
    return float(T**2 * (np.exp(p) * (p - log_softmax(s / T))).sum())


def dear(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    return 0.9 * ranknet(s, y, t) + 0.1 * kl(s, y, t)


def margin_mse(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    terms = [((s[i] - s[j]) - (t[i] - t[j])) ** 2 for i in range(len(s)) for j in range(len(s)) if y[i] > y[j]]
    return float(np.mean(terms)) if terms else 0.0


def listnet(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    return float(-(np.exp(log_softmax(t)) * log_softmax(s)).sum()) if len(set(t)) > 1 else 0.0


def info_nce(s: np.ndarray, y: np.ndarray, t: np.ndarray) -> float:
    others = np.exp(s[y <= 0]).sum()
    if not (y > 0).any() or not (y <= 0).any():
        return 0.0
    return float(np.mean([-np.log(np.exp(x) / (np.exp(x) + others)) for x in s[y > 0]]))


Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
OURS: dict[str, Loss] = {
    "ranknet": lambda s, y, t, real: losses.ranknet(s, y, real),
    "soft_ranknet": lambda s, y, t, real: losses.soft_ranknet(s, t, real),
    "kl": lambda s, y, t, real: losses.kl_distillation(s, t, real, T),
    "dear": lambda s, y, t, real: losses.ranknet_with_distillation(s, y, t, real, 0.1, T),
    "margin_mse": lambda s, y, t, real: losses.margin_mse(s, y, t, real),
    "listnet": lambda s, y, t, real: losses.listnet(s, t, real),
    "info_nce": lambda s, y, t, real: losses.info_nce(s, y, real),
}
FORMULAS = {f.__name__: f for f in (ranknet, soft_ranknet, kl, dear, margin_mse, listnet, info_nce)}
LOSSES = pytest.mark.parametrize("name", sorted(OURS))

# float32 values that round to few digits, so that ties occur
score = st.integers(-40, 40).map(lambda n: n / 4)
candidates = st.lists(st.tuples(score, st.sampled_from([0.0, 0.0, 1.0, 2.0]), score), min_size=1, max_size=6)


@LOSSES
@settings(max_examples=60, deadline=None)
@given(groups=st.lists(candidates, min_size=1, max_size=4))
def test_losses_are_their_formulas_whatever_the_padding(name: str, groups: list[list[tuple[float, ...]]]) -> None:
    longest = max(map(len, groups))
    arrays = np.full((3, len(groups), longest), 123.0, dtype=np.float32)  # padding holds anything
    real = np.zeros((len(groups), longest), dtype=bool)
    for row, group in enumerate(groups):
        arrays[:, row, : len(group)] = np.array(group, dtype=np.float32).T
        real[row, : len(group)] = True
    s, y, t = (torch.from_numpy(array) for array in arrays)
    s.requires_grad_(True)
    ours = OURS[name](s, y, t, torch.from_numpy(real))
    expected = [FORMULAS[name](*np.array(group).T) for group in groups]
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=2e-4, atol=2e-5)

    ours.sum().backward()
    assert s.grad is not None
    assert torch.isfinite(s.grad).all()
    assert (s.grad[~torch.from_numpy(real)] == 0).all()


@LOSSES
def test_gradients_are_the_numerical_ones(name: str) -> None:
    random = np.random.default_rng(0)
    s, t = random.normal(size=(2, 3, 5)).astype(np.float32)
    y = np.zeros((3, 5), dtype=np.float32)
    y[:, 0] = 1
    real = np.ones((3, 5), dtype=bool)
    real[1, 3:] = False
    tensors = [torch.from_numpy(array) for array in (y, t, real)]
    logits = torch.from_numpy(s).requires_grad_(True)
    OURS[name](logits, *tensors).sum().backward()
    assert logits.grad is not None

    def total(values: np.ndarray) -> float:
        return sum(
            FORMULAS[name](values[row][real[row]], y[row][real[row]], t[row][real[row]]) for row in range(len(values))
        )

    step = 1e-5
    for at in np.argwhere(real):
        bump = np.zeros(s.shape)
        bump[tuple(at)] = step
        numerical = (total(s + bump) - total(s - bump)) / (2 * step)
        assert logits.grad[tuple(at)].item() == pytest.approx(numerical, abs=2e-4), at


@LOSSES
@pytest.mark.parametrize(
    ("logits", "labels", "teacher"),
    [
        ([[1.0]], [[1.0]], [[2.0]]),  # one candidate
        ([[1.0, -1.0, 0.5]], [[0.0, 0.0, 0.0]], [[3.0, 3.0, 3.0]]),  # nothing differs
    ],
)
def test_group_that_says_nothing_has_no_loss_and_no_gradient(
    name: str, logits: list[list[float]], labels: list[list[float]], teacher: list[list[float]]
) -> None:
    if name in ("kl", "dear") and len(logits[0]) > 1:
        pytest.skip("a teacher that scores all candidates alike is a target distribution: the uniform one")
    s, y, t = torch.tensor(logits, requires_grad=True), torch.tensor(labels), torch.tensor(teacher)
    loss = OURS[name](s, y, t, torch.ones_like(y, dtype=torch.bool))
    assert loss.tolist() == [0.0]
    loss.sum().backward()
    assert s.grad is not None
    assert not s.grad.any()


@LOSSES
def test_losses_fall_when_the_logits_follow_the_targets(name: str) -> None:
    y = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    t = torch.tensor([[4.0, 1.0, 0.0, -2.0]])
    real = torch.ones_like(y, dtype=torch.bool)
    right, wrong = OURS[name](t, y, t, real), OURS[name](-t, y, t, real)
    assert right.item() < wrong.item()


@LOSSES
def test_huge_logits_in_half_precision_stay_finite(name: str) -> None:
    s = torch.tensor([[60_000.0, -60_000.0, 0.0]], dtype=torch.float16, requires_grad=True)
    y, t = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[5.0, -5.0, 0.0]])
    loss = OURS[name](s, y, t, torch.ones_like(y, dtype=torch.bool))
    assert torch.isfinite(loss).all()
