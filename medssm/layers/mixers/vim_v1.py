"""The first bidirectional mixer of Vim: both ways share everything but the decay."""

import torch
from torch import Tensor

from medssm.layers.linear import token_linears
from medssm.layers.mixers.mamba import (
    KernelCost,
    Mamba,
    decay_parameter,
    kernel_cost,
    scan_inputs,
    stacked_bias,
)
from medssm.ops.conv import causal_conv1d
from medssm.ops.routes import there_and_back
from medssm.ops.scan import selective_scan


class SharedBidirectionalMamba(Mamba):
    """Mamba whose convolved sequence is scanned both ways, with a second decay for the way back.

    [v | z] = W_in x, u = silu(conv(v)), (dt, B, C) = W u, all shared;
    y = W_out((S6(u; A, ...) + reverse(S6(reverse(u); A_b, ...))) * silu(z)).

    Args:
        channels: Width of the tokens.
        state: States a channel.
        conv_width: Taps of the causal convolution.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projection; ceil(channels / 16) when not given.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Zhu et al., "Vision Mamba", 2024, mixer "v1" of hustvl/Vim. That D is shared too, and so
        counts twice in the sum, follows from "only a second A" and is not confirmed by a run.
    """

    causal = False

    def __init__(
        self,
        channels: int,
        state: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
    ) -> None:
        super().__init__(channels, state, conv_width, expand, dt_rank)
        self.A_b_log = decay_parameter(expand * channels, state)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens along the flattened grid, forwards and backwards."""
        tokens = x.flatten(1, -2)  # (B, L, C)
        value, gate = token_linears(tokens, *self.in_proj.weight.chunk(2))
        u = causal_conv1d(
            value, self.conv1d.weight.transpose(0, 1), stacked_bias([self.conv1d.bias])
        )
        delta, B, C = (
            each.expand(-1, 2, -1, -1) for each in scan_inputs(u, self.x_proj.weight, self.state)
        )
        y = selective_scan(
            u,
            delta,
            -torch.exp(torch.stack((self.A_log, self.A_b_log)).float()),
            B,
            C,
            self.D.float().expand(2, -1),
            delta_weight=self.dt_proj.weight.expand(2, -1, -1),
            delta_bias=self.dt_proj.bias.float().expand(2, -1),
            routes=there_and_back(tokens.shape[1]),
            z=gate,
        )
        return self.out_proj(y).view_as(x)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operators compute for so many tokens."""
        once = kernel_cost(tokens, self.conv1d.weight, self.A_log, self.dt_proj.weight)
        step = tokens * self.dt_proj.weight.numel()
        return KernelCost(once.macs + step, 2 * once.scan_flops)
