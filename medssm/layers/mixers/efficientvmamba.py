"""EfficientVMamba's atrous scan: every direction walks its own sub-grid, each cell once."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.channel_gate import ChannelGate
from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear, token_linears
from medssm.layers.mixers.mamba import KernelCost
from medssm.layers.mixers.routed_scan import RoutedScan
from medssm.ops.routes.route import kept
from medssm.ops.scan import selective_scan


@kept
def sub_grids(step: int, *size: int) -> Tensor:
    """One route a sub-grid of every step-th cell: its own cells first, those of the next after.

    Sub-grid k starts at the k-th offset, the first axis running fastest; its fastest axis is the
    last for k = 0, the one before for k = 1, and so on around.

    Args:
        step: Distance of neighbours in a sub-grid.
        size: Sizes of the grid, multiples of the step.
    """
    grid = torch.arange(math.prod(size)).view(size)
    rank, walks = len(size), []
    for index, offset in enumerate(itertools.product(range(step), repeat=rank)):
        part = grid[tuple(slice(start, None, step) for start in reversed(offset))]
        fastest = rank - 1 - index % rank
        walks.append(part.movedim(fastest, -1).flatten())
    return torch.stack([torch.cat(walks[start:] + walks[:start]) for start in range(len(walks))])


class AtrousMamba(nn.Module):
    """ES2D: SS2D whose directions share the cells out instead of visiting all of them.

    [v | z] = W_in t, u = silu(conv(v));  for step 2 in an image, with own parameters each:

        k = 0: even rows, even columns, by rows      k = 1: odd rows, even columns, by columns
        k = 2: even rows, odd columns, by rows       k = 3: odd rows, odd columns, by columns

    result W_out(LN(y) * silu(z)), y the one output of each cell: nothing is added up. Sizes that
    are no multiple of the step are padded with zeros for the scan, as published.

    A cell is reached from one side only. The published block therefore adds a convolution beside
    it, SE(ES2D(t)) + SE(conv(t)) with one gate SE for both: ``local_branch``.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map; 8 sub-grids in volumes are ours.
        state: States a channel.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        step: Distance of neighbours in a sub-grid. The official code is right for 2 only.
        local_branch: Whether to add the convolution and both gates. Its batch norm is the
            published one: while training, the samples of a batch meet in it.

    Shape:
        x: (B, *S, C), result the same.

    Raises:
        BadArgumentError: A step below 1.

    Source:
        Pei et al., "EfficientVMamba", 2024; TerryPei/EfficientVMamba, commit 0bc5ee2.
    """

    over = "grid"
    causal = False

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        state: int = 16,
        expand: int = 2,
        dt_rank: int | None = None,
        step: int = 2,
        local_branch: bool = False,
    ) -> None:
        super().__init__()
        if step < 1:
            raise BadArgumentError(f"step must be 1 or more; found {step}.")
        inner, rank = expand * channels, dt_rank or math.ceil(channels / 16)
        self.step, self.parts = step, step**spatial_dims
        self.in_proj = TokenLinear(channels, 2 * inner, bias=False)
        self.conv = MapConv(spatial_dims, inner, inner, groups=inner, bias=True)
        self.scan = RoutedScan(inner, self.parts, state, rank)
        self.norm = nn.LayerNorm(inner)
        self.out_proj = TokenLinear(inner, channels, bias=False)
        self.local = LocalBranch(channels, spatial_dims) if local_branch else None

    def forward(self, x: Tensor) -> Tensor:
        """Scan the sub-grids, gate."""
        value, gate = token_linears(x, *self.in_proj.weight.chunk(2))
        y = self.norm(self.scan_parts(F.silu(self.conv(value))))
        y = self.out_proj(y * F.silu(gate))
        return y if self.local is None else self.local(x, y)

    def scan_parts(self, u: Tensor) -> Tensor:
        """Every cell as its own sub-grid's walk leaves it.

        Shape:
            u: (B, *S, e), result the same.
        """
        size = u.shape[1:-1]
        padded = _padded(u, size, self.step)
        tokens, whole = padded.flatten(1, -2), padded.shape[1:-1]
        # each route stops where its own cells end; the sum takes one output a cell
        cells = tokens.new_full((u.shape[0],), tokens.shape[1] // self.parts, dtype=torch.int32)
        routes = sub_grids(self.step, *whole)
        arguments = self.scan.arguments(tokens, lambda weights: self.project(padded, weights))
        y = selective_scan(tokens, **arguments, routes=routes, lengths=cells)
        return y.view_as(padded)[(slice(None), *(slice(0, each) for each in size))]

    def project(self, u: Tensor, weights: Tensor) -> Tensor:
        """Project each cell with the weights of its own sub-grid: no route reads another's.

        Shape:
            u: (B, *S, e), weights: (K, r, e), result (B, K, L, r), the same for all K in memory.
        """
        rank = u.ndim - 2
        blocks, offsets = "ijk"[:rank], "xyz"[:rank]
        grid = "".join(map("".join, zip(blocks, offsets, strict=True)))
        apart = [part for each in u.shape[1:-1] for part in (each // self.step, self.step)]
        made = torch.einsum(
            f"b{grid}e,{offsets[::-1]}re->b{grid}r",
            u.reshape(u.shape[0], *apart, u.shape[-1]),
            weights.reshape(*(self.step,) * rank, *weights.shape[1:]),
        )
        return made.reshape(u.shape[0], 1, -1, weights.shape[1]).expand(-1, self.parts, -1, -1)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operator computes: each cell is visited by one route."""
        macs, flops = self.scan.kernel_cost(tokens)
        return KernelCost(macs // self.parts, flops // self.parts)


class LocalBranch(nn.Module):
    """SE(y) + SE(conv(x)), the convolution depthwise 3^d, batch norm, GELU, pointwise; one SE."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.conv = MapConv(spatial_dims, channels, channels, groups=channels, bias=True)
        self.norm = nn.BatchNorm1d(channels)
        self.pointwise = TokenLinear(channels, channels)
        self.gate_norm = nn.LayerNorm(channels)
        self.gate = ChannelGate(channels, 8, activation=F.gelu)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Shape: both (B, *S, C), result the same."""
        local = self.conv(x)
        local = self.norm(local.flatten(0, -2)).view_as(local)
        local = self.pointwise(F.gelu(local))
        return y * self.gate(self.gate_norm(y)) + local * self.gate(self.gate_norm(local))


def _padded(u: Tensor, size: Sequence[int], step: int) -> Tensor:
    missing = [-each % step for each in size]
    if not any(missing):
        return u
    widths = [width for each in reversed(missing) for width in (0, each)]
    return F.pad(u, (0, 0, *widths))
