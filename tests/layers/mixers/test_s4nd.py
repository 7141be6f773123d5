import itertools

import pytest
import torch
import torch.nn.functional as F

from medssm.layers.mixers.s4nd import S4ND
from medssm.ops.s4d import s4d_kernel


def lags(modes, size):
    """Kernel of one axis by lag, -(size - 1) .. size - 1."""
    log_step, A, C, back = modes.modes()
    ahead = s4d_kernel(log_step, A, back, size).flip(-1)[:, 1:]
    return torch.cat((ahead, s4d_kernel(log_step, A, C, size)), dim=-1)  # (C, 2 size - 1)


@pytest.mark.parametrize("size", [(5,), (3, 4), (2, 3, 4)])
def test_filters_with_the_outer_product_of_the_axes_kernels(size):
    torch.manual_seed(0)
    mixer = S4ND(2, len(size), state=4)
    x = torch.randn(1, *size, 2)
    kernels = [lags(modes, each) for modes, each in zip(mixer.axes, size, strict=True)]
    cells = list(itertools.product(*map(range, size)))
    y = torch.zeros_like(x)
    for to, source in itertools.product(cells, cells):
        weight = torch.ones(2)
        for kernel, i, j, each in zip(kernels, to, source, size, strict=True):
            weight = weight * kernel[:, i - j + each - 1]
        y[(0, *to)] += weight * x[(0, *source)]
    wanted = mixer.out_proj(F.gelu(y + mixer.D * x))
    torch.testing.assert_close(mixer(x), wanted, atol=1e-5, rtol=1e-4)


def test_the_linear_output_can_be_left_out():
    mixer = S4ND(4, 2, state=4, linear=False)
    assert mixer(torch.randn(1, 3, 5, 4)).shape == (1, 3, 5, 4)
    assert "out_proj.weight" not in mixer.state_dict()


def test_its_transforms_are_counted():
    counted = S4ND(8, 2, state=4, linear=False).kernel_cost(32 * 32)
    # two axes; there and back over 64 numbers and the products between, two operations a MAC
    per_row = (2 * 2.5 * 64 * 6 + 6 * 32) / 2
    assert counted.macs == 2 * 8 * 32 * per_row
