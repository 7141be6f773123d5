import itertools

import pytest
import torch
from torch import Tensor

from medssm.layers.toki import TokenInterpolation, interpolate_tokens


def by_loops(x: Tensor, flags: Tensor, A: Tensor, exponent: str) -> Tensor:
    """The equations as they stand, one sample and one position at a time, in float64."""
    z = torch.zeros_like(x)
    last = x.shape[1] - 1
    for b in range(len(x)):
        marks = [t for t in range(last + 1) if flags[b, t] or t in (0, last)]
        for left, right in itertools.pairwise(marks):
            n = right - left
            v = []
            for j in range(n):
                alpha = j / (n - 1) if n > 1 else 0.0
                v.append((1 - alpha) * x[b, left] + alpha * x[b, right])
                for i in range(j + 1):
                    e = n - 1 - i if exponent == "official" else j - i
                    z[b, left + j] += torch.linalg.matrix_power(A, e) @ v[i]
        z[b, last] = A @ x[b, last]
    return z


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, 23, 5, generator=generator)
    flags = torch.rand(3, 23, generator=generator) < 0.25
    flags[2] = False  # only the two ends
    A = torch.randn(5, 5, generator=generator) * 0.4
    return x, flags, A


@pytest.mark.parametrize("exponent", ["official", "recurrent"])
def test_equals_the_equations(case: tuple[Tensor, Tensor, Tensor], exponent: str) -> None:
    x, flags, A = case
    expected = by_loops(x.double(), flags, A.double(), exponent)
    found = interpolate_tokens(x, flags, A, exponent)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("exponent", ["official", "recurrent"])
def test_gradients_equal_those_of_the_equations(
    case: tuple[Tensor, Tensor, Tensor], exponent: str
) -> None:
    x, flags, A = case
    ours, theirs = A.clone().requires_grad_(), A.double().requires_grad_()
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
    (interpolate_tokens(x, flags, ours, exponent) * weights).sum().backward()
    (by_loops(x.double(), flags, theirs, exponent) * weights).sum().backward()
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)


def test_a_matrix_of_zeros_fills_the_end_of_each_gap_alone() -> None:
    x = torch.randn(1, 6, 4)
    flags = torch.tensor([[True, False, False, False, True, True]])
    filled = TokenInterpolation(4)(x, flags)
    assert torch.equal(filled[0, 3], x[0, 4])
    assert filled[0, 1:3].abs().sum() == 0


def test_visible_tokens_stay_and_a_learning_step_moves_the_matrix() -> None:
    x, flags = torch.randn(2, 12, 4), torch.rand(2, 12) < 0.4
    layer = TokenInterpolation(4)
    filled = layer(x, flags)
    assert torch.equal(filled[flags], x[flags])
    filled.square().sum().backward()
    assert layer.matrix.grad.abs().sum() > 0


def test_a_bound_keeps_wide_gaps_finite() -> None:
    x, flags = torch.randn(1, 200, 4), torch.zeros(1, 200, dtype=torch.bool)
    layer = TokenInterpolation(4)
    with torch.no_grad():
        layer.matrix.normal_(std=3)
    assert layer(x, flags).abs().max() < 200 * x.abs().max()


def test_autocast_does_not_lower_the_precision(case: tuple[Tensor, Tensor, Tensor]) -> None:
    x, flags, A = case
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = interpolate_tokens(x, flags, A)
    assert torch.equal(found, interpolate_tokens(x, flags, A))
