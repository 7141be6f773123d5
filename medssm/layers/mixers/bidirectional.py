"""The bidirectional Mamba mixer of Vim: the sequence read both ways by one scan call."""

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from medssm.layers.mixers.branches import BranchedMamba
from medssm.ops.routes import Routes, there_and_back


class BidirectionalMamba(BranchedMamba):
    """Two directions, each with its own convolution, projections and decay; shared in and out.

    [v | z] = W_in x; for both directions k, along its own order of the sequence:
    u_k = silu(conv_k(v)), (dt_k, B_k, C_k) = W_k u_k, y_k = S6(u_k; A_k, B_k, C_k, D_k, dt_k);
    result W_out((y_forward + y_backward) * silu(z)), halved with ``merge="mean"``.

    Args:
        channels: Width of the tokens.
        state: States a channel.
        conv_width: Taps of the causal convolutions.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        merge: Whether the two outputs are summed, or averaged as in the published networks.
        released_start: Start the backward step as the official code does, which forgot it:
            PyTorch's own weights and zero bias, so steps near 0.7 instead of 0.001..0.1.
        projection_bias: Give the projections in and out a bias.
        conv_bias: Give the convolutions one.
        layer_scale: Start of a learned factor of every channel of the result; None for none.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Zhu et al., "Vision Mamba", 2024, mixer "v2"; keys and arithmetic as hustvl/Vim.
    """

    def __init__(
        self,
        channels: int,
        state: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        merge: Literal["sum", "mean"] = "sum",
        released_start: bool = False,
        projection_bias: bool = False,
        conv_bias: bool = True,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__(
            ("", "_b"),
            channels,
            state=state,
            conv_width=conv_width,
            expand=expand,
            dt_rank=dt_rank,
            projection_bias=projection_bias,
            conv_bias=conv_bias,
        )
        self.gamma: nn.Parameter | None = None
        if layer_scale is not None:
            self.gamma = nn.Parameter(torch.full((channels,), layer_scale))
        self.scale = 1.0 if merge == "sum" else 0.5
        if released_start:
            step = cast("nn.Linear", self.dt_proj_b)
            step.reset_parameters()
            nn.init.zeros_(step.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens forwards and backwards."""
        mixed = super().forward(x)
        return mixed if self.gamma is None else mixed * self.gamma

    def order(self, size: tuple[int, ...]) -> Routes:
        """Forwards and backwards."""
        return there_and_back(math.prod(size))
