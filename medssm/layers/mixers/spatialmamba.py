"""Spatial-Mamba's structure-aware state fusion: one scan, whose states are mixed on the grid."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv
from medssm.layers.dims import dilated_sum
from medssm.layers.linear import TokenLinear, token_linears
from medssm.layers.mixers.mamba import KernelCost
from medssm.layers.mixers.routed_scan import RoutedScan
from medssm.ops.scan import selective_scan

DILATIONS = (1, 3, 5)


class StateFusionMamba(nn.Module):
    """A row-major scan of one state a channel; states, not outputs, go back to the grid.

    [v | z] = W_in t, u = silu(conv(v));  h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t, N = 1;

        h' = sum over dilations q of alpha_q * (depthwise 3^d convolution of dilation q)(h)
        y = C h' + D u,          result W_out(LN(y) * silu(z))

    Beyond the border of the grid its states go on. Kernels and alpha start as ones.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map; kernels of 3^3 in volumes are ours.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projection; ceil(channels / 16) when not given.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Xiao et al., "Spatial-Mamba", 2024; EdwardChasel/Spatial-Mamba, commit 71221eb. Its merged
        11 x 11 kernel for inference is left out: it goes stale when weights change.
    """

    over = "grid"
    causal = False

    def __init__(
        self, channels: int, spatial_dims: int, expand: int = 2, dt_rank: int | None = None
    ) -> None:
        super().__init__()
        inner, rank = expand * channels, dt_rank or math.ceil(channels / 16)
        self.in_proj = TokenLinear(channels, 2 * inner, bias=False)
        self.conv = MapConv(spatial_dims, inner, inner, groups=inner, bias=True)
        self.states = RoutedScan(inner, 1, 1, rank)
        self.kernels = nn.Parameter(torch.ones(len(DILATIONS), inner, 1, *(3,) * spatial_dims))
        self.alpha = nn.Parameter(torch.ones(len(DILATIONS)))
        self.norm = nn.LayerNorm(inner)
        self.out_proj = TokenLinear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scan the rows, fuse the states of neighbours, read them."""
        value, gate = token_linears(x, *self.in_proj.weight.chunk(2))
        u = F.silu(self.conv(value)).flatten(1, -2)  # (B, L, e)
        arguments = self.states.arguments(u)
        readout, skip = arguments["C"], arguments["D"]
        # with one state, C = 1 and no skip the output of the scan is its state
        arguments |= {"C": torch.ones_like(readout), "D": None}
        h = selective_scan(u, **arguments).view_as(value).movedim(-1, 1)
        alpha = self.alpha.view(-1, *(1,) * (self.kernels.ndim - 1))
        fused = dilated_sum(h, (self.kernels * alpha).to(h.dtype), DILATIONS).movedim(1, -1)
        y = readout[:, 0] * fused.flatten(1, -2) + u * skip[0].to(u.dtype)
        return self.out_proj(self.norm(y).view_as(gate) * F.silu(gate))

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operator computes for so many tokens."""
        return self.states.kernel_cost(tokens)
