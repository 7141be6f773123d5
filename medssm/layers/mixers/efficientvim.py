"""EfficientViM's hidden-state mixer: channels are mixed on a few states instead of all tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear


class HiddenStateMixer(nn.Module):
    """Tokens are gathered into N states, the states are mixed, tokens read them; no scan.

    [B, C, dt] = conv(W t), depthwise;  A = softmax over tokens of dt, for each state;

        h = (A * B)^T x  (N states),   [h1 | g] = W_hz h,   h = W_out(h1 * silu(g) + h1 * D)
        y_t = C_t h

    The official code adds a learned constant a state to dt before the softmax. A softmax does not
    see it, so it is not a parameter here.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        state: States N; the published sizes take 49, 25 and 9 in their stages.
        expand: Width of the mixed states as a multiple of `channels`.

    Shape:
        x: (B, *S, C), result the same. Any sizes; the official code takes square maps only.

    Source:
        Lee et al., "EfficientViM", 2024, HSM-SSD; mlvlab/EfficientViM, commit 304340c. That no
        projection has a bias is unconfirmed.
    """

    over = "grid"
    causal = False

    def __init__(self, channels: int, spatial_dims: int, state: int = 49, expand: int = 1) -> None:
        super().__init__()
        inner = expand * channels
        self.in_proj = TokenLinear(channels, 3 * state, bias=False)
        self.conv = MapConv(spatial_dims, 3 * state, 3 * state, groups=3 * state)
        self.mix_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.D = nn.Parameter(torch.ones(1))
        self.out_proj = nn.Linear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gather, mix, read."""
        tokens = x.flatten(1, -2)
        B, C, step = self.conv(self.in_proj(x)).flatten(1, -2).chunk(3, dim=-1)  # (B, L, N)
        weight = step.float().softmax(dim=1).to(B.dtype) * B
        states = weight.transpose(1, 2) @ tokens.to(B.dtype)  # (B, N, C)
        value, gate = self.mix_proj(states).chunk(2, dim=-1)
        states = self.out_proj(value * F.silu(gate) + value * self.D)
        return (C @ states).view_as(x)
