"""VMamba's cross-scan (SS2D) and its family: a map scanned along every axis, both ways."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear, token_linear
from medssm.layers.mixers.routed_scan import RoutedScan, StartName
from medssm.ops.routes import Routes, axes3d, cross2d, there_and_back
from medssm.ops.routes.route import kept

GateName = Literal["silu", "linear", "none"]
OutNormName = Literal["layer", "none", "convolution", "layer_convolution", "softmax", "sigmoid"]
DirectionsName = Literal["cross", "one_way", "two_way"]


def route_count(spatial_dims: int) -> int:
    """Routes of a cross-scan: each axis both ways."""
    return 2 * spatial_dims


def grid_routes(grid: Sequence[int], directions: DirectionsName = "cross") -> Routes:
    """The routes of a cross-scan over a grid: all forward ones, then all reversed ones.

    Args:
        grid: Sizes of the one, two or three axes.
        directions: "cross" along every axis; "one_way" and "two_way" keep the number of routes
            but run along the last axis only, all forwards or half of them backwards.
    """
    if directions != "cross":
        return along_rows(math.prod(grid), route_count(len(grid)), directions == "two_way")
    cross: dict[int, Callable[..., Routes]] = {1: there_and_back, 2: cross2d, 3: axes3d}
    return cross[len(grid)](*grid)


@kept
def along_rows(length: int, count: int, both_ways: bool) -> Tensor:
    """The order of memory, `count` times; the later half of them backwards if wanted."""
    ahead = torch.arange(length).expand(count // 2, -1)
    return torch.cat((ahead, ahead.flip(1) if both_ways else ahead))


class CrossScan(nn.Module):
    """SS2D: gate, depthwise convolution, one scan a direction, sum, norm, projection.

    x, z = W_in t;  u = silu(conv(x));  y = LN(sum_k S6_k(u));  result W_out (y * silu(z)).

    The defaults are the first form ("v0") of VM-UNet and the early VMamba. VMamba's later
    "v05_noz" is ``state=1, expand=1, gate="none", conv_bias=False``.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map; 4 routes in 2D, 6 in 3D.
        state: States a channel.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        conv_width: Edge of the depthwise convolution; 1 leaves it out.
        conv_bias: Whether it has a bias.
        bias: Whether the projections in and out have biases.
        gate: "silu" as in v0, "linear" ("_nozact") or "none" ("_noz").
        out_activation: "gelu" ("_oact") before the last projection.
        out_norm: What normalises the sum: layer norm, or VMamba's "_onnone", "_ondwconv3"
            (convolution), "_oncnorm" (layer_convolution), "_onsoftmax", "_onsigmoid". The spec
            only names these five; their insides are from memory, unconfirmed.
        directions: "one_way" and "two_way" are VMamba's ablations v051d and v052d; the order of
            the latter's parameters (forward ones first) is unconfirmed.
        merge: "sum" as published, or "learned": a weight a route and channel, 1 at the start.
        start: Start values of the scans.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Liu et al., "VMamba", 2024, SS2D; six directions in 3D and learned merging are ours.
    """

    over = "grid"
    causal = False

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        state: int = 16,
        expand: float = 2.0,
        dt_rank: int | None = None,
        conv_width: int = 3,
        conv_bias: bool = True,
        bias: bool = False,
        gate: GateName = "silu",
        out_activation: Literal["none", "gelu"] = "none",
        out_norm: OutNormName = "layer",
        directions: DirectionsName = "cross",
        merge: Literal["sum", "learned"] = "sum",
        start: StartName = "s4d",
    ) -> None:
        super().__init__()
        inner, rank = int(expand * channels), dt_rank or math.ceil(channels / 16)
        routes = route_count(spatial_dims)
        self.gate: GateName = gate
        self.directions: DirectionsName = directions
        self.out_activation = out_activation
        self.in_proj = TokenLinear(channels, inner if gate == "none" else 2 * inner, bias=bias)
        self.conv: nn.Module = nn.Identity()
        if conv_width > 1:
            self.conv = MapConv(
                spatial_dims, inner, inner, kernel=conv_width, groups=inner, bias=conv_bias
            )
        self.scan = RoutedScan(inner, routes, state, rank, start)
        learned = torch.ones(routes, inner)
        self.merge_weight = nn.Parameter(learned) if merge == "learned" else None
        self.out_norm = _out_norm(out_norm, inner, spatial_dims)
        self.out_proj = TokenLinear(inner, channels, bias=bias)
        for projection in (self.in_proj, self.out_proj):
            nn.init.trunc_normal_(projection.weight, std=0.02)
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the map along its axes."""
        value, gate = self.project(x)
        return self.finish(self._scan(F.silu(self.conv(value))), gate)

    def finish(self, y: Tensor, gate: Tensor | None) -> Tensor:
        """Normalise what the scans gave, gate it and project it out."""
        y = self.out_norm(y)
        if gate is not None:
            y = y * (F.silu(gate) if self.gate == "silu" else gate)
        return self.out_proj(F.gelu(y) if self.out_activation == "gelu" else y)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The value that is scanned and its gate, each contiguous."""
        weight, bias = self.in_proj.weight, self.in_proj.bias
        if self.gate == "none":
            return self.in_proj(x), None
        biases = (None, None) if bias is None else bias.chunk(2)
        value, gate = (
            token_linear(x, part, each) for part, each in zip(weight.chunk(2), biases, strict=True)
        )
        return value, gate

    def _scan(self, u: Tensor) -> Tensor:
        """Scan a map along every direction and merge."""
        tokens, routes = u.flatten(1, -2), grid_routes(u.shape[1:-1], self.directions)
        if self.merge_weight is None:
            return self.scan(tokens, routes).view_as(u)
        apart = self.scan(tokens, routes, "none")  # (B, K, L, e)
        return torch.einsum("bkle,ke->ble", apart, self.merge_weight).view_as(u)


class SoftmaxOverSpace(nn.Module):
    """Softmax over all positions, channel by channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, *S, C) to the same."""
        return x.flatten(1, -2).softmax(dim=1).view_as(x)


def _out_norm(name: OutNormName, channels: int, spatial_dims: int) -> nn.Module:
    def depthwise() -> nn.Module:
        return MapConv(spatial_dims, channels, channels, groups=channels)

    makers: dict[OutNormName, Callable[[], nn.Module]] = {
        "layer": lambda: nn.LayerNorm(channels),
        "none": nn.Identity,
        "convolution": depthwise,
        "layer_convolution": lambda: nn.Sequential(nn.LayerNorm(channels), depthwise()),
        "softmax": SoftmaxOverSpace,
        "sigmoid": nn.Sigmoid,
    }
    return makers[name]()
