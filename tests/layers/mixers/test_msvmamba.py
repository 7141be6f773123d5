import pytest
import torch

from medssm.layers.mixers.msvmamba import MultiScaleMamba
from medssm.layers.mixers.orders import axis_route
from medssm.ops.scan import selective_scan


def tiny(spatial_dims, **options):
    torch.manual_seed(0)
    return MultiScaleMamba(8, spatial_dims, expand=1, **options)


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_the_half_size_directions_are_one_sequence(size):
    mixer = tiny(len(size))
    u = torch.randn(2, *size, 8)
    tokens = u.flatten(1, -2)
    orders = [axis_route(index, *size).table[0].long() for index in range(1, 2 * len(size))]
    joined = torch.cat([tokens[:, order] for order in orders], dim=1)
    y = selective_scan(joined, **mixer.half_scan.arguments(joined))
    wanted = torch.zeros_like(tokens)
    for order, part in zip(orders, y.chunk(len(orders), dim=1), strict=True):
        wanted[:, order] += part
    torch.testing.assert_close(mixer.scan_half(u).flatten(1, -2), wanted, atol=1e-5, rtol=1e-4)


def test_without_carried_state_the_directions_start_anew():
    carried, anew = tiny(2), tiny(2, carry_state=False)
    u = torch.randn(1, 3, 4, 8)
    arguments = anew.half_scan.arguments(u.flatten(1, -2))
    each = [
        selective_scan(u.flatten(1, -2), **arguments, routes=axis_route(index, 3, 4))
        for index in (1, 2, 3)
    ]
    torch.testing.assert_close(anew.scan_half(u).flatten(1, -2), sum(each))
    assert not torch.allclose(carried.scan_half(u), anew.scan_half(u), atol=1e-5)


def test_the_gate_over_channels_can_be_left_out():
    mixer = tiny(2, channel_gate=False)
    x = torch.randn(1, 5, 7, 8)
    assert mixer.gate is None
    assert mixer(x).shape == x.shape
