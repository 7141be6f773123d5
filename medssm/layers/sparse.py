"""Layers over the visible part of a map: nothing hidden is read, hidden tokens are not scanned."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv
from medssm.layers.linear import token_linears
from medssm.layers.masking import Visible, gather_tokens, scatter_tokens
from medssm.layers.mixers.branches import BranchedMamba
from medssm.layers.mixers.cross_scan import CrossScan, grid_routes
from medssm.layers.mixers.mamba import scan_inputs
from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan


def hide(x: Tensor, visible: Visible | None) -> Tensor:
    """Set hidden cells of a map to zero; without a mask the map as it is.

    A convolution after this sees what a submanifold sparse convolution would see.

    Shape:
        x: (B, *S, C), result the same.
    """
    return x if visible is None else x * visible.at(x.shape[1:-1]).to(x.dtype)


def mix_visible(mixer: nn.Module, tokens: Tensor, visible: Visible) -> Tensor:
    """Run a token mixer over the visible tokens of a grid alone.

    Mixers over a sequence take the visible tokens as their sequence; those along several routes
    take them along each route, sample by sample; a cross-scan convolves the map with zeros at
    hidden cells, then scans the visible tokens alone. Any other mixer over a grid sees the whole
    grid with zeros at hidden cells: nothing leaks, and nothing is saved.

    Args:
        mixer: One of `MIXERS`.
        tokens: In scan order.
        visible: Which cells of which grid they are.

    Shape:
        tokens: (B, K, C), result the same.
    """
    if isinstance(mixer, BranchedMamba):
        return _branched(mixer, tokens, visible)
    if isinstance(mixer, CrossScan) and not _convolves_after(mixer):
        return _cross_scan(mixer, tokens, visible)
    if mixer.over == "sequence":
        return cast("Tensor", mixer(tokens))
    grid = scatter_tokens(tokens, visible.ids, math.prod(visible.grid))
    mixed = mixer(grid.view(tokens.shape[0], *visible.grid, -1))
    return gather_tokens(mixed.flatten(1, -2), visible.ids)


def _convolves_after(mixer: CrossScan) -> bool:
    return any(isinstance(each, MapConv) for each in mixer.out_norm.modules())


def visible_orders(table: Tensor, ids: Tensor) -> Tensor:
    """In which order each route meets the visible cells.

    Args:
        table: Routes over all cells.
        ids: The visible cells.

    Returns:
        For every route and sample, places among the visible cells, first met first.

    Shape:
        table: (R, L), ids: (B, K), result (R, B, K) int64.
    """
    steps = torch.argsort(table.long(), dim=1)  # at which step a route meets each cell
    return torch.argsort(steps[:, ids], dim=-1)


def _along(tokens: Tensor, orders: Tensor) -> Tensor:
    """The tokens along each order: (B, K, C) and (R, B, K) to (B, R, K, C)."""
    return torch.stack([gather_tokens(tokens, order) for order in orders], dim=1)


def _back(y: Tensor, orders: Tensor) -> list[Tensor]:
    """The results of each order in the order of memory: (B, R, K, C) to R of (B, K, C)."""
    inverse = torch.argsort(orders, dim=-1)
    return [gather_tokens(y[:, route], order) for route, order in enumerate(inverse)]


def _branched(mixer: BranchedMamba, tokens: Tensor, visible: Visible) -> Tensor:
    routes = mixer.order(visible.grid)
    value, gate = token_linears(tokens, *mixer.in_proj.weight.chunk(2))
    length = math.prod(visible.grid)
    table = torch.arange(length)[None] if routes is None else routes.table
    orders = visible_orders(table.to(tokens.device), visible.ids)
    values, sets = _along(value, orders), [mixer.branch(each) for each in mixer.branches]
    us, ways = [], []
    for index, each in enumerate(sets):
        bias = None if each.bias is None else each.bias[None]
        us.append(causal_conv1d(values[:, index], each.taps.transpose(0, 1), bias))
        ways.append(scan_inputs(us[-1], each.x_proj, mixer.state))
    delta, B, C = (torch.cat(parts, dim=1) for parts in zip(*ways, strict=True))
    y = selective_scan(
        torch.cat(us, dim=1),
        delta,
        -torch.exp(torch.stack([each.A_log for each in sets]).float()),
        B,
        C,
        torch.stack([each.D for each in sets]).float(),
        delta_weight=torch.stack([each.step for each in sets]),
        delta_bias=torch.stack([each.step_bias for each in sets]).float(),
        merge="none",
    )
    merged = torch.stack(_back(y, orders)).sum(0) * F.silu(gate)
    result = mixer.out_proj(merged)
    return result if mixer.scale == 1.0 else result * mixer.scale


def _cross_scan(mixer: CrossScan, tokens: Tensor, visible: Visible) -> Tensor:
    value, gate = mixer.project(tokens)
    length = math.prod(visible.grid)
    grid = scatter_tokens(value, visible.ids, length).view(len(value), *visible.grid, -1)
    u = gather_tokens(F.silu(mixer.conv(grid)).flatten(1, -2), visible.ids)
    table = grid_routes(visible.grid, mixer.directions).table.to(tokens.device)
    orders = visible_orders(table, visible.ids)
    parts = torch.stack(_back(mixer.scan(_along(u, orders), None, "none"), orders), dim=1)
    if mixer.merge_weight is None:
        y = parts.sum(1)
    else:
        y = torch.einsum("bkle,ke->ble", parts, mixer.merge_weight)
    return mixer.finish(y, gate)
