"""The Mamba mixer has the keys, shapes, start and output of mamba_ssm's module."""

import math

import pytest
import torch
import torch.nn.functional as F

from medssm.layers.mixers.mamba import Mamba
from medssm.ops import selective_scan_fn


def _published_shapes(d, n, w, e, r):
    """Of mamba_ssm 2.3: Mamba(d_model, d_state, d_conv, expand, dt_rank)."""
    return {
        "A_log": (e, n),
        "D": (e,),
        "in_proj.weight": (2 * e, d),
        "conv1d.weight": (e, 1, w),
        "conv1d.bias": (e,),
        "x_proj.weight": (r + 2 * n, e),
        "dt_proj.weight": (e, r),
        "dt_proj.bias": (e,),
        "out_proj.weight": (d, e),
    }


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, (24, 16, 4, 48, 2)),
        ({"state": 8, "conv_width": 3, "expand": 1, "dt_rank": 5}, (24, 8, 3, 24, 5)),
    ],
)
def test_keys_and_shapes_are_the_published_ones(options, sizes):
    shapes = {name: tuple(x.shape) for name, x in Mamba(24, **options).state_dict().items()}
    assert shapes == _published_shapes(*sizes)


def test_it_starts_as_published():
    torch.manual_seed(0)
    mixer = Mamba(256)
    steps = F.softplus(mixer.dt_proj.bias)
    assert 1e-4 <= float(steps.min()) < 2e-3 < 5e-2 < float(steps.max()) <= 0.1 + 1e-6
    torch.testing.assert_close(mixer.A_log[3], torch.arange(1.0, 17.0).log())
    assert (mixer.D == 1).all()
    bound = mixer.dt_proj.weight.shape[1] ** -0.5
    assert 0.9 * bound < float(mixer.dt_proj.weight.abs().max()) <= bound
    assert float(mixer.conv1d.weight.abs().max()) <= math.sqrt(1 / 4)


def test_its_output_is_that_of_the_published_layout():
    torch.manual_seed(0)
    mixer, x = Mamba(24), torch.randn(2, 4, 5, 24)
    tokens = x.flatten(1, 2)
    value, gate = (mixer.in_proj.weight @ tokens.transpose(1, 2)).chunk(2, dim=1)
    taps, bias = mixer.conv1d.weight, mixer.conv1d.bias
    value = F.silu(F.conv1d(F.pad(value, (3, 0)), taps, bias, groups=48))
    step, B, C = (mixer.x_proj.weight @ value).split((2, 16, 16), dim=1)
    y = selective_scan_fn(
        value,
        mixer.dt_proj.weight @ step,
        -mixer.A_log.exp(),
        B,
        C,
        mixer.D,
        gate,
        mixer.dt_proj.bias,
        True,
    )
    wanted = (mixer.out_proj.weight @ y).transpose(1, 2).view_as(x)
    torch.testing.assert_close(mixer(x), wanted, atol=1e-5, rtol=1e-4)
