"""MHS-VM's mixer: several heads, each scanning along routes of its own, joined by attention."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear, token_linears
from medssm.layers.mixers.cross_scan import route_count
from medssm.layers.mixers.routed_scan import RoutedScan
from medssm.ops.routes import Routes, heads, there_and_back
from medssm.ops.routes.heads3d import heads3d

HEADS = ("continuous", "diagonal", "spiral", "raster")
"""The heads in the order in which they are taken: C, X, S, Z."""
SMALL = 1e-5
TINY = 1e-30


def head_routes(grid: Sequence[int], head: str) -> Routes:
    """The routes of one head over a grid: each order followed by its reverse."""
    makers: dict[int, Callable[..., Routes]] = {
        1: lambda length, _: there_and_back(length),
        2: heads,
        3: heads3d,
    }
    return makers[len(grid)](*grid, (head,))


def scan_route_attention(y: Tensor, threshold: float, shared: Tensor | None = None) -> Tensor:
    """Join the outputs of a head's routes: sum(y) relu(cv - t), cv their variation.

    cv = std(y) / (mean(y - min(y)) + 1e-5) with the unbiased deviation, element by element. For
    four routes it lies in [2/3, 2] unless all agree, so a threshold up to 2/3 never closes.

    Args:
        y: Outputs of K routes.
        threshold: t.
        shared: What every route's output has besides y: it adds to the sum, and cv does not see
            it. Where routes differ by less than the last digits of their common part, cv needs
            y without that part.

    Shape:
        y: (B, K, L, s), shared: (B, L, s), result (B, L, s).

    Source:
        Ji, "MHS-VM", 2024, scan route attention.
    """
    # the root has no slope at zero, where all routes agree
    deviation = y.var(dim=1).clamp_min(TINY).sqrt()
    above = (y - y.amin(dim=1, keepdim=True)).mean(dim=1)
    total = y.sum(dim=1)
    if shared is not None:
        total = torch.add(total, shared, alpha=y.shape[1])
    return total * F.relu(deviation / (above + SMALL) - threshold)


class ScanHeads(nn.Module):
    """The multi-head scan: a projection to heads, a routed scan each, attention, norm, projection.

    Args:
        channels: Width d of the map.
        spatial_dims: Rank of the map; 4 routes a head in 2D, 6 in 3D.
        heads: How many of `HEADS`; each has floor(d / heads) channels.
        state: States a channel.
        dt_rank: Rank of the step projections; ceil(head width / 16) when not given.
        threshold: Of the attention's gate.
        projection: Whether a norm and a linear layer follow the heads.

    Shape:
        x: (B, *S, d), result the same.

    Raises:
        BadArgumentError: No such number of heads, or a width that only a projection could mend.
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        heads: int,
        state: int = 16,
        dt_rank: int | None = None,
        threshold: float = 0.5,
        projection: bool = True,
    ) -> None:
        super().__init__()
        if not 1 <= heads <= len(HEADS) or heads > channels:
            raise BadArgumentError(
                f"heads must lie in 1..{min(len(HEADS), channels)} for {channels} channels, "
                f"found {heads}"
            )
        if channels % heads and not projection:
            raise BadArgumentError(
                f"{channels} channels are no multiple of {heads} heads; take another number of "
                f"heads, or projection=True"
            )
        width = channels // heads
        rank = dt_rank or math.ceil(width / 16)
        self.threshold = threshold
        self.in_proj = TokenLinear(channels, heads * width, bias=False)
        self.scans = nn.ModuleList(
            RoutedScan(width, route_count(spatial_dims), state, rank) for _ in range(heads)
        )
        self.norm: nn.Module = nn.Identity()
        self.out_proj: nn.Module = nn.Identity()
        if projection:
            self.norm = nn.LayerNorm(heads * width)
            self.out_proj = TokenLinear(heads * width, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scan in every head, then join the heads."""
        grid = x.shape[1:-1]
        parts = token_linears(x.flatten(1, -2), *self.in_proj.weight.chunk(len(self.scans)))
        with _full_precision(x.device.type):
            joined = [
                self._joined(cast("RoutedScan", scan), _at_least_float32(part), grid, head)
                for part, scan, head in zip(parts, self.scans, HEADS, strict=False)
            ]
        tokens: Tensor = self.out_proj(self.norm(torch.cat(joined, dim=-1).to(parts[0].dtype)))
        return tokens.view(*x.shape[:-1], -1)

    def _joined(self, scan: RoutedScan, u: Tensor, grid: Sequence[int], head: str) -> Tensor:
        """One head: the skip that its routes share stays out of what attention compares."""
        y = scan(u, head_routes(grid, head), "none", shared_skip=False)
        return scan_route_attention(y, self.threshold, scan.D[0].float() * u)


def _full_precision(device: str) -> AbstractContextManager[object]:
    """No autocast: routes differ by less than a half type resolves, and attention is of that."""
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class MultiHeadScan(nn.Module):
    """Gate, depthwise convolution, multi-head scan, norm; no projection at the end.

    x, z = W_in t;  y = LN(MHS(silu(conv(x))));  result y * silu(z).

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        heads: 3 or 4 as published: continuous, diagonal, spiral (and raster) routes.
        state: States a channel.
        dt_rank: Rank of the step projections; ceil(head width / 16) when not given.
        threshold: Of the attention's gate; 0.5 for ISIC18, 0 for ISIC17 and 0.4 in the authors'
            test of their released weights. It leaves no trace in weights.
        projection: Whether a norm and a linear layer follow the heads.
        gated: Without it, the authors' unused variant: convolution, heads, norm.
        conv_width: Edge of the depthwise convolution.
        conv_bias: Whether it has a bias.
        bias: Whether the projection has a bias.
        start: "published": truncated normal projections of deviation 0.02. The routes then differ
            by less than the attention's 1e-5, and with a threshold of 0.5 less than 1 % of the
            gates are open at width 96 and none at width 16, where such a mixer never learns.
            "open" keeps PyTorch's wider start: over 99 % are open.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Ji, "MHS-VM", 2024; six routes a head in 3D are ours.
    """

    over = "grid"
    causal = False

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        heads: int = 4,
        state: int = 16,
        dt_rank: int | None = None,
        threshold: float = 0.5,
        projection: bool = True,
        gated: bool = True,
        conv_width: int = 3,
        conv_bias: bool = True,
        bias: bool = False,
        start: Literal["published", "open"] = "published",
    ) -> None:
        super().__init__()
        self.in_proj = TokenLinear(channels, 2 * channels, bias=bias) if gated else None
        self.conv = MapConv(
            spatial_dims, channels, channels, kernel=conv_width, groups=channels, bias=conv_bias
        )
        self.heads = ScanHeads(channels, spatial_dims, heads, state, dt_rank, threshold, projection)
        self.norm = nn.LayerNorm(channels)
        if start == "published":
            for module in self.modules():
                if isinstance(module, TokenLinear):
                    nn.init.trunc_normal_(module.weight, std=0.02)
        if self.in_proj is not None and self.in_proj.bias is not None:
            nn.init.zeros_(self.in_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the map along the routes of all heads."""
        if self.in_proj is None:
            return self._mix(x)
        value, gate = self.in_proj(x).chunk(2, dim=-1)
        return self._mix(value) * F.silu(gate)

    def _mix(self, x: Tensor) -> Tensor:
        return self.norm(self.heads(F.silu(self.conv(x))))
