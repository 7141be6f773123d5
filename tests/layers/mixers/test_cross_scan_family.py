"""The cross-scan, the multi-head scan and their core against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from medssm.layers.mixers import build_mixer
from medssm.layers.mixers.cross_scan import CrossScan, grid_routes
from medssm.layers.mixers.multi_head_scan import (
    MultiHeadScan,
    head_routes,
    scan_route_attention,
)
from medssm.layers.mixers.routed_scan import RoutedScan
from medssm.ops.routes.heads3d import heads3d

NAMES = ("continuous", "diagonal", "spiral", "raster")


def by_loop(scan: RoutedScan, u: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Each route by itself, one step after the other: (B, K, L, e)."""
    outputs = []
    for k, order in enumerate(table.long()):
        x = u[:, order]
        rank, state = scan.dt_weight.shape[-1], scan.A_log.shape[-1]
        delta, B, C = (x @ scan.x_proj[k].T).split((rank, state, state), dim=-1)
        step = F.softplus(delta @ scan.dt_weight[k].T + scan.dt_bias[k])
        h, ys = torch.zeros(len(u), u.shape[-1], state), []
        for t in range(len(order)):
            decay = torch.exp(step[:, t, :, None] * -scan.A_log[k].exp())
            h = decay * h + (step[:, t] * x[:, t])[..., None] * B[:, t, None]
            ys.append((h * C[:, t, None]).sum(-1) + scan.D[k] * x[:, t])
        y = torch.empty_like(u)
        y[:, order] = torch.stack(ys, dim=1)
        outputs.append(y)
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize(("grid", "rank"), [((7,), 2), ((4, 5), 3), ((4, 5), 20), ((2, 3, 4), 2)])
def test_a_routed_scan_is_a_loop_along_every_route(grid: tuple[int, ...], rank: int) -> None:
    torch.manual_seed(0)
    routes = grid_routes(grid)
    scan = RoutedScan(6, len(routes), state=3, rank=rank)
    u = torch.randn(2, math.prod(grid), 6)
    expected = by_loop(scan, u, routes.table)
    torch.testing.assert_close(scan(u, routes, "none"), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scan(u, routes), expected.sum(1), atol=1e-5, rtol=1e-4)


def test_the_orders_of_a_head_are_followed_by_their_reverses() -> None:
    rows, back, columns, up = head_routes((3, 4), "continuous").table.tolist()
    assert rows == [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]
    assert columns == [0, 4, 8, 9, 5, 1, 2, 6, 10, 11, 7, 3]
    assert back == rows[::-1]
    assert up == columns[::-1]
    assert head_routes((3, 4), "diagonal").table[0].tolist() == [
        0,
        1,
        4,
        8,
        5,
        2,
        3,
        6,
        9,
        10,
        7,
        11,
    ]
    assert head_routes((3, 4), "spiral").table[0].tolist() == [0, 1, 2, 3, 7, 11, 10, 9, 8, 4, 5, 6]
    assert head_routes((1, 1), "spiral").table.tolist() == [[0]] * 4


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 4), (4, 1, 5), (5, 4, 3)])
def test_routes_in_3d_visit_every_voxel_once_and_two_heads_only_step_to_neighbours(
    size: tuple[int, int, int],
) -> None:
    table = heads3d(*size, NAMES).table.long()
    length = math.prod(size)
    assert table.shape == (24, length)
    assert torch.equal(table.sort(1).values, torch.arange(length).expand(24, -1))
    assert torch.equal(table[1::2], table[::2].flip(1))
    for route in (*table[0:6], *table[12:18]):  # continuous and spiral
        place = torch.stack(torch.unravel_index(route, size))
        assert bool((place.diff().abs().sum(0) == 1).all())


def test_attention_takes_the_unbiased_variation_of_the_routes() -> None:
    y = torch.randn(2, 4, 5, 3)
    cv = y.std(dim=1) / ((y - y.amin(1, keepdim=True)).mean(1) + 1e-5)
    expected = y.sum(1) * (cv - 0.9).clamp_min(0)
    torch.testing.assert_close(scan_route_attention(y, 0.9), expected)
    inside = cv[(y.amax(1) - y.amin(1)) > 0.1]
    assert 2 / 3 - 1e-3 < inside.min() < inside.max() < 2 + 1e-3


def test_attention_of_routes_that_agree_is_zero_with_a_finite_slope() -> None:
    y = torch.ones(1, 4, 2, 2, requires_grad=True)
    result = scan_route_attention(y, 0.0)
    result.sum().backward()
    assert result.abs().max() < 1e-6
    assert y.grad is not None
    assert bool(y.grad.isfinite().all())


def test_merging_is_learned_from_the_sum() -> None:
    torch.manual_seed(0)
    plain = CrossScan(8, 2, state=4)
    torch.manual_seed(0)
    learned = CrossScan(8, 2, state=4, merge="learned")
    x = torch.randn(1, 4, 5, 8)
    learned.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(learned(x), plain(x), atol=1e-6, rtol=1e-4)
    learned(x).square().sum().backward()
    assert learned.merge_weight is not None
    assert learned.merge_weight.grad is not None


@pytest.mark.parametrize(
    "options",
    [
        {"gate": "none"}, {"gate": "linear"}, {"out_activation": "gelu"}, {"conv_width": 1},
        {"conv_width": 5, "conv_bias": False}, {"bias": True}, {"directions": "one_way"},
        {"directions": "two_way"}, {"start": "normal"}, {"start": "flat"}, {"expand": 1.5},
        *({"out_norm": norm} for norm in
          ("none", "convolution", "layer_convolution", "softmax", "sigmoid")),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_every_member_of_the_family_runs_and_learns(options: dict, spatial_dims: int) -> None:
    torch.manual_seed(0)
    mixer = build_mixer({"name": "cross_scan", "state": 2, **options}, 8, spatial_dims)
    x = torch.randn(2, *(3, 4, 2)[:spatial_dims], 8)
    y = mixer(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert all(each.grad is not None for each in mixer.parameters())


def test_two_ways_along_rows_are_not_a_cross() -> None:
    assert grid_routes((2, 2), "one_way").table.tolist() == [[0, 1, 2, 3]] * 4
    assert grid_routes((2, 2), "two_way").table.tolist() == [[0, 1, 2, 3]] * 2 + [[3, 2, 1, 0]] * 2
    assert grid_routes((2, 2)).table[1].tolist() == [0, 2, 1, 3]


def test_the_published_start_closes_the_gates_of_a_narrow_multi_head_scan() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 8, 16)
    published = build_mixer({"name": "multi_head_scan"}, 16, 2)
    opened = build_mixer({"name": "multi_head_scan", "start": "open"}, 16, 2)
    assert published(x).abs().max() == 0
    assert opened(x).abs().mean() > 1e-3


def test_routes_that_hardly_differ_are_told_apart_in_float32():
    """At the published start they differ by 1e-5 of what they share, the skip."""
    torch.manual_seed(0)
    mixer = MultiHeadScan(96, 2, threshold=0.0).eval()
    x = torch.randn(1, 8, 12, 96)
    with torch.no_grad():
        single = mixer(x)
        exact = mixer.double()(x.double())
    assert float((single - exact).abs().max() / exact.abs().max()) < 1e-5
