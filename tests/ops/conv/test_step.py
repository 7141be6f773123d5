"""Single steps of the causal convolution are the convolution."""

import pytest
import torch

from medssm.ops.conv import causal_conv1d
from medssm.ops.conv.step import causal_conv1d_step


@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_steps_give_the_outputs_of_the_convolution(taps, activation):
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn((2, 11, 5), generator=g), torch.randn((1, 5, taps), generator=g)
    bias = torch.randn((1, 5), generator=g)
    past, rows = torch.zeros(2, taps - 1, 5), []
    for token in x.unbind(1):
        y, past = causal_conv1d_step(past, token, weight[0], bias[0], activation=activation)
        rows.append(y)
    whole = causal_conv1d(x, weight, bias, activation=activation)[:, 0]
    torch.testing.assert_close(torch.stack(rows, 1), whole)
    assert torch.equal(past, x[:, 11 - (taps - 1) :])


def test_a_past_of_another_size_is_an_error():
    with pytest.raises(ValueError, match="past has shape"):
        causal_conv1d_step(torch.zeros(2, 4, 5), torch.zeros(2, 5), torch.zeros(5, 4))
