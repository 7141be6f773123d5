import pytest
import torch
import torch.nn.functional as F

from medssm.core.errors import BadArgumentError
from medssm.layers.dims import check_spatial_dims, dilated_sum, resize


@pytest.mark.parametrize("size", [(7,), (4, 5), (3, 4, 2)])
def test_dilated_convolutions_add_up_with_the_border_going_on(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size)
    kernels = torch.randn(2, 3, 1, *(3,) * len(size))
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(size)]
    wanted = torch.zeros_like(x)
    for kernel, dilation in zip(kernels, (1, 3), strict=True):
        padded = F.pad(x, (dilation, dilation) * len(size), mode="replicate")
        wanted += convolve(padded, kernel, dilation=dilation, groups=3)
    torch.testing.assert_close(dilated_sum(x, kernels, (1, 3)), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "wanted"), [((3,), (5,)), ((3, 4), (5, 7)), ((2, 3, 4), (3, 5, 7))]
)
def test_resizing_keeps_a_constant_and_takes_odd_sizes(size, wanted):
    made = resize(torch.full((1, 2, *size), 3.0), wanted)
    torch.testing.assert_close(made, torch.full((1, 2, *wanted), 3.0))


def test_four_axes_are_refused():
    with pytest.raises(BadArgumentError, match="must be 1, 2 or 3"):
        check_spatial_dims(4)
