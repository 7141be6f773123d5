"""VSSD's non-causal state-space duality: one global state, no scan, any number of axes."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear, token_linears
from medssm.layers.mixers.mamba import skip_parameter, step_projection, without_weight_decay


class NonCausalSSD(nn.Module):
    """Every token adds to one state a head; every token reads it.

    [z | x, B, C | dt] = W_in t; (x, B, C) = silu(conv(x, B, C)); for head h with decay |A_h|:

        w_t = softplus(dt_t + bias_h) |A_h|
        S = sum_t w_t B_t x_t^T,       y_t = C_t^T S + D_h x_t,       result W_out(LN(y) * z)

    B and C are shared by the heads; z has no activation.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        state: States N.
        expand: Inner width as a multiple of `channels`.
        head_size: Channels of a head; one head where the inner width is smaller.
        merge: "sum" as published. It grows with the number of tokens; "mean" divides by it,
            which is ours and meant for volumes.
        sign: Of w_t: "positive" is the official default, "negative" its other setting.

    Shape:
        x: (B, *S, C), result the same.

    Raises:
        BadArgumentError: The inner width does not divide into such heads.

    Source:
        Shi et al., "VSSD", 2024; YuHengsss/VSSD, commit 87b753b. Dividing by the number of tokens
        is advice of our specification and unconfirmed by any figure.
    """

    over = "grid"
    causal = False

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        state: int = 64,
        expand: int = 2,
        head_size: int = 64,
        merge: Literal["sum", "mean"] = "sum",
        sign: Literal["positive", "negative"] = "positive",
    ) -> None:
        super().__init__()
        inner = expand * channels
        heads = max(1, inner // head_size)
        if inner % heads:
            raise BadArgumentError(
                f"the inner width {inner} does not divide into {heads} heads; choose a head_size"
                f" that divides it, found {head_size}."
            )
        self.merge, self.sign = merge, 1.0 if sign == "positive" else -1.0
        self.widths = (inner, inner + 2 * state, heads)
        self.parts = (inner, state, state)
        self.in_proj = TokenLinear(channels, sum(self.widths), bias=False)
        self.conv = MapConv(
            spatial_dims, self.widths[1], self.widths[1], groups=self.widths[1], bias=True
        )
        start = torch.empty(heads).uniform_(1, 16).log()
        self.A_log = without_weight_decay(nn.Parameter(start))
        self.dt_bias = without_weight_decay(nn.Parameter(step_projection(1, heads).bias.detach()))
        self.D = skip_parameter(heads)
        self.norm = nn.LayerNorm(inner)
        self.out_proj = TokenLinear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gather all tokens into the state, read it at each."""
        gate, mixed, step = token_linears(x, *self.in_proj.weight.split_with_sizes(self.widths))
        mixed = F.silu(self.conv(mixed)).flatten(1, -2)  # (B, L, e + 2N)
        value, B, C = mixed.split_with_sizes(self.parts, dim=-1)
        heads = self.widths[2]
        weight = F.softplus(step.flatten(1, -2).float() + self.dt_bias) * torch.exp(self.A_log)
        weight = weight * (self.sign / (math.prod(x.shape[1:-1]) if self.merge == "mean" else 1))
        by_head = value.reshape(*value.shape[:2], heads, -1)  # (B, L, H, P)
        weighted = (by_head * weight[..., None].to(value.dtype)).flatten(2)
        states = B.transpose(1, 2) @ weighted  # (B, N, e)
        y = C @ states + (by_head * self.D.to(value.dtype)[:, None]).flatten(2)
        return self.out_proj(self.norm(y).view_as(gate) * gate)
