"""Convolutions over token maps."""

import pytest
import torch

from medssm.layers.convs import MapConv


def _gradient(conv, x, weights):
    # what a freed tensor leaves behind must not be found in a gradient
    dirt = [torch.full((27 * count,), 1e24, dtype=torch.bfloat16) for count in (16, 64, 256, 1024)]
    del dirt
    (y := conv(x)).backward(weights.to(y.dtype))
    return conv.conv.weight.grad


@pytest.mark.parametrize("size", [(2, 4, 2), (1, 3, 2), (2, 2, 2), (4, 4, 4)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_gradients_in_bfloat16_are_right_on_thin_maps(size, kernel):
    # oneDNN's are not, where the map is channels last: `sound_layout`
    torch.manual_seed(0)
    for _ in range(5):
        conv = MapConv(3, 32, 32, kernel=kernel, groups=32)
        x, weights = torch.randn(2, *size, 32), torch.randn(2, *size, 32)
        with torch.autocast("cpu", torch.bfloat16):
            found = _gradient(conv, x, weights)
        exact = MapConv(3, 32, 32, kernel=kernel, groups=32).double()
        exact.load_state_dict(conv.state_dict())
        expected = _gradient(exact, x.double(), weights.double())
        assert (found - expected).abs().max() < 0.03 * expected.abs().max()
