"""The bidirectional Mamba mixer of Vim: the sequence read both ways by one scan call."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from medssm.layers.linear import TokenLinear, token_linears
from medssm.layers.mixers.mamba import (
    CausalConv,
    KernelCost,
    decay_parameter,
    kernel_cost,
    scan_inputs,
    skip_parameter,
    step_projection,
)
from medssm.ops.conv import causal_conv1d
from medssm.ops.routes import there_and_back
from medssm.ops.scan import selective_scan


class BidirectionalMamba(nn.Module):
    """Two directions, each with its own convolution, projections and decay; shared in and out.

    Args:
        channels: Width of the tokens.
        state: States a channel.
        conv_width: Taps of the causal convolutions.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        merge: Whether the two outputs are summed or averaged.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Zhu et al., "Vision Mamba", 2024, mixer "v2"; the backward step starts like the forward
        one here, where the official code forgot it.
    """

    over = "sequence"
    causal = False

    def __init__(
        self,
        channels: int,
        state: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        merge: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        inner, rank = expand * channels, dt_rank or math.ceil(channels / 16)
        self.state, self.scale = state, 1.0 if merge == "sum" else 0.5
        self.in_proj = TokenLinear(channels, 2 * inner, bias=False)
        self.conv1d = CausalConv(inner, conv_width)
        self.conv1d_b = CausalConv(inner, conv_width)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.x_proj_b = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = step_projection(rank, inner)
        self.dt_proj_b = step_projection(rank, inner)
        self.A_log = decay_parameter(inner, state)
        self.A_b_log = decay_parameter(inner, state)
        self.D = skip_parameter(inner)
        self.D_b = skip_parameter(inner)
        self.out_proj = TokenLinear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens along the flattened grid, forwards and backwards."""
        tokens = x.flatten(1, -2)  # (B, L, C)
        value, gate = token_linears(tokens, *self.in_proj.weight.chunk(2))
        with unset_fake_temporarily():  # the table is kept for later calls: it must hold numbers
            routes = there_and_back(tokens.shape[1])
        u = causal_conv1d(
            value,
            torch.stack((self.conv1d.weight[:, 0], self.conv1d_b.weight[:, 0])),
            torch.stack((self.conv1d.bias, self.conv1d_b.bias)),
            routes=routes,
        )  # (B, 2, L, e)
        ways = (
            scan_inputs(u[:, :1], self.x_proj.weight, self.state),
            scan_inputs(u[:, 1:], self.x_proj_b.weight, self.state),
        )
        delta, B, C = (torch.cat(pair, dim=1) for pair in zip(*ways, strict=True))
        y = selective_scan(
            u,
            delta,
            -torch.exp(torch.stack((self.A_log, self.A_b_log)).float()),
            B,
            C,
            torch.stack((self.D, self.D_b)).float(),
            delta_weight=torch.stack((self.dt_proj.weight, self.dt_proj_b.weight)),
            delta_bias=torch.stack((self.dt_proj.bias, self.dt_proj_b.bias)).float(),
            routes=routes,
            z=gate,
        )
        return (self.out_proj(y) * self.scale).view_as(x)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operators compute for so many tokens."""
        return kernel_cost(tokens, self.conv1d.weight, self.A_log, self.dt_proj.weight, 2)
