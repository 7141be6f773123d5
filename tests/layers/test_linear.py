import pytest
import torch
import torch.nn.functional as F

from medssm.layers.linear import ROWS, TokenLinear, token_linears


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tokens", [7, 8 * ROWS, 8 * ROWS + 1])
def test_values_and_gradients_equal_the_plain_layer(bias: bool, tokens: int) -> None:
    torch.manual_seed(0)
    layer = TokenLinear(5, 9, bias=bias).double()
    x = torch.randn(2, tokens, 5, dtype=torch.float64, requires_grad=True)
    wish = torch.randn(2, tokens, 9, dtype=torch.float64)
    inputs = [x, *layer.parameters()]
    ours = layer(x)
    theirs = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(ours, theirs)
    for mine, plain in zip(
        torch.autograd.grad((ours * wish).sum(), inputs),
        torch.autograd.grad((theirs * wish).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)


def test_several_projections_add_their_gradients() -> None:
    torch.manual_seed(0)
    x = torch.randn(4 * ROWS, 6, dtype=torch.float64, requires_grad=True)
    weights = [torch.randn(n, 6, dtype=torch.float64, requires_grad=True) for n in (1, 4, 3)]
    ours = sum(each.square().sum() for each in token_linears(x, *weights))
    theirs = sum(F.linear(x, each).square().sum() for each in weights)
    for mine, plain in zip(
        torch.autograd.grad(ours, [x, *weights]),
        torch.autograd.grad(theirs, [x, *weights]),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)


def test_a_projection_that_nothing_uses_has_no_gradient_to_give() -> None:
    x = torch.randn(4 * ROWS, 6, requires_grad=True)
    first, second = (torch.randn(3, 6, requires_grad=True) for _ in range(2))
    used, _ = token_linears(x, first, second)
    used.sum().backward()
    torch.testing.assert_close(x.grad, first.detach().sum(0).expand_as(x))
