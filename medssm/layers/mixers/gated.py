"""Twins of the Mamba mixer without a state space: the same gate and projections, no scan."""

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear, token_linears


class GatedPointwise(nn.Module):
    """What is left of Mamba without convolution and scan: a gated two-layer product per token.

    It mixes channels only, so that whatever Mamba adds to a network shows against it.

    Args:
        channels: Width of the tokens.
        expand: Inner width as a multiple of `channels`.

    Shape:
        x: (B, *S, C), result the same.
    """

    over = "sequence"
    causal = True

    def __init__(self, channels: int, expand: int = 2) -> None:
        super().__init__()
        self.in_proj = TokenLinear(channels, 2 * expand * channels, bias=False)
        self.out_proj = TokenLinear(expand * channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate every token by itself."""
        value, gate = token_linears(x, *self.in_proj.weight.chunk(2))
        return self.out_proj(F.silu(value) * F.silu(gate))


class GatedConvolution(nn.Module):
    """Mamba with its scan replaced by a depthwise 3^d convolution on the grid.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        expand: Inner width as a multiple of `channels`.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Yu and Wang, "MambaOut", 2024.
    """

    over = "grid"
    causal = False

    def __init__(self, channels: int, spatial_dims: int, expand: int = 2) -> None:
        super().__init__()
        inner = expand * channels
        self.in_proj = TokenLinear(channels, 2 * inner, bias=False)
        self.conv = MapConv(spatial_dims, inner, inner, groups=inner, bias=True)
        self.out_proj = TokenLinear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix neighbours, gated by the token itself."""
        value, gate = token_linears(x, *self.in_proj.weight.chunk(2))
        return self.out_proj(F.silu(self.conv(value)) * F.silu(gate))
