"""Coarser and finer grids: patches to tokens, 2^d cells to one, one token to p^d cells."""

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear
from medssm.layers.norms import MapBatchNorm


def gather_cells(x: Tensor, size: int) -> Tensor:
    """Put the cells of each block of a grid side by side in the channels, first axis fastest.

    Shape:
        x: (B, *S, C), result (B, *S / size, size^d C).
    """
    batch, *grid, channels = x.shape
    rank = len(grid)
    split = x.reshape(batch, *(n for axis in grid for n in (axis // size, size)), channels)
    outer, inner = range(1, 2 * rank, 2), range(2, 2 * rank + 1, 2)
    return split.permute(0, *outer, *reversed(inner), 2 * rank + 1).flatten(rank + 1)


def spread_cells(x: Tensor, size: int) -> Tensor:
    """Read channels as (p_1, ..., p_d, c), c fastest, and lay the cells out on a finer grid.

    Shape:
        x: (B, *S, size^d C), result (B, *S size, C).
    """
    batch, *grid, _ = x.shape
    rank = len(grid)
    split = x.reshape(batch, *grid, *(size,) * rank, -1)
    pairs = (axis for outer in range(1, rank + 1) for axis in (outer, outer + rank))
    finer = (axis * size for axis in grid)
    return split.permute(0, *pairs, 2 * rank + 1).reshape(batch, *finer, split.shape[-1])


class PatchEmbed(nn.Module):
    """One token a patch: a convolution as wide as its step, then a norm.

    Shape:
        x: (B, *S, C), result (B, *S / patch, K).
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = MapConv(
            spatial_dims, in_channels, channels, kernel=patch, stride=patch, padding=0, bias=True
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Cut and project."""
        return self.norm(self.proj(x))


class PatchMerging(nn.Module):
    """Half the grid, twice the width: 2^d neighbours side by side, norm, linear.

    Shape:
        x: (B, *S, C), result (B, *S / 2, 2C).

    Source:
        Liu et al., "Swin Transformer", 2021; any rank is ours.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2**spatial_dims * channels)
        self.reduction = TokenLinear(2**spatial_dims * channels, 2 * channels, bias=False)
        nn.init.trunc_normal_(self.reduction.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Merge blocks of two."""
        return self.reduction(self.norm(gather_cells(x, 2)))


class PatchExpanding(nn.Module):
    """A finer grid: linear to all cells at once, rearrangement, norm.

    Args:
        spatial_dims: Rank of the map.
        channels: Width before.
        out_channels: Width after.
        factor: How many times finer the grid becomes.

    Shape:
        x: (B, *S, C), result (B, *S factor, K).

    Source:
        Cao et al., "Swin-Unet", 2021; any rank is ours.
    """

    def __init__(
        self, spatial_dims: int, channels: int, out_channels: int, factor: int = 2
    ) -> None:
        super().__init__()
        self.factor = factor
        self.expand = TokenLinear(channels, factor**spatial_dims * out_channels, bias=False)
        nn.init.trunc_normal_(self.expand.weight, std=0.02)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Project to cells and spread them."""
        return self.norm(spread_cells(self.expand(x), self.factor))


class LargeKernelExpanding(nn.Module):
    """Linear to all cells at once, batch norm, ReLU, depthwise 3^d, rearrangement, norm (LKPE).

    Args:
        spatial_dims: Rank of the map.
        channels: Width before.
        out_channels: Width after.
        factor: How many times finer the grid becomes.

    Shape:
        x: (B, *S, C), result (B, *S factor, K).

    Source:
        Chen et al., "MSVM-UNet", 2024; its "large" kernel is 3 in the released code.
    """

    def __init__(
        self, spatial_dims: int, channels: int, out_channels: int, factor: int = 2
    ) -> None:
        super().__init__()
        hidden, self.factor = factor**spatial_dims * out_channels, factor
        self.expand = TokenLinear(channels, hidden)
        self.batch_norm = MapBatchNorm(hidden)
        self.conv = MapConv(spatial_dims, hidden, hidden, groups=hidden, bias=True)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Project to cells, let them see their neighbours, spread them."""
        cells = self.conv(F.relu(self.batch_norm(self.expand(x))))
        return self.norm(spread_cells(cells, self.factor))
