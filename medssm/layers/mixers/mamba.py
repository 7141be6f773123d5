"""The Mamba-1 mixer: gate, causal convolution and one selective scan over flattened space."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from medssm.layers.linear import TokenLinear, token_linears
from medssm.ops.conv import causal_conv1d
from medssm.ops.scan import selective_scan

DT_RANGE = (1e-3, 1e-1)
DT_FLOOR = 1e-4


class KernelCost(NamedTuple):
    """Work inside fused operators, which no counter of matrix products sees.

    Args:
        macs: Multiply-adds of the causal convolution and of the low-rank step.
        scan_flops: Floating-point operations of the recurrence.
    """

    macs: int
    scan_flops: int


def kernel_cost(
    tokens: int, taps: Tensor, decay: Tensor, step: Tensor, directions: int = 1
) -> KernelCost:
    """The work of one mixer: nine operations a token and state, two more a token and channel.

    Shape:
        taps: (e, 1, w), decay: (e, N), step: (e, R).
    """
    macs = tokens * (taps.numel() + step.numel())
    flops = 9 * tokens * decay.numel() + 2 * tokens * decay.shape[0]
    return KernelCost(directions * macs, directions * flops)


class CausalConv(nn.Module):
    """Weights of a depthwise causal convolution, in mamba_ssm's shapes (e, 1, w) and (e,)."""

    bias: nn.Parameter | None

    def __init__(self, channels: int, width: int, bias: bool = True) -> None:
        super().__init__()
        bound = width**-0.5  # PyTorch's own start for a depthwise Conv1d
        self.weight = nn.Parameter(torch.empty(channels, 1, width).uniform_(-bound, bound))
        shift = torch.empty(channels).uniform_(-bound, bound) if bias else None
        self.bias = None if shift is None else nn.Parameter(shift)


def stacked_bias(biases: Sequence[Tensor | None]) -> Tensor | None:
    """The biases of convolutions that all have one, or all have none.

    Shape:
        each: (e,); result (K, e).
    """
    given = [bias for bias in biases if bias is not None]
    return torch.stack(given) if given else None


class Mamba(nn.Module):
    """Mamba-1 over the row-major sequence of all positions, one direction.

    Args:
        channels: Width of the tokens.
        state: States a channel.
        conv_width: Taps of the causal convolution.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projection; ceil(channels / 16) when not given.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Gu and Dao, "Mamba", 2023; keys and start values as mamba_ssm 2.3.
    """

    over = "sequence"
    causal = True

    def __init__(
        self,
        channels: int,
        state: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
    ) -> None:
        super().__init__()
        inner, rank = expand * channels, dt_rank or math.ceil(channels / 16)
        self.state = state
        self.in_proj = TokenLinear(channels, 2 * inner, bias=False)
        self.conv1d = CausalConv(inner, conv_width)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = step_projection(rank, inner)
        self.A_log = decay_parameter(inner, state)
        self.D = skip_parameter(inner)
        self.out_proj = TokenLinear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens along the flattened grid."""
        tokens = x.flatten(1, -2)  # (B, L, C)
        value, gate = token_linears(tokens, *self.in_proj.weight.chunk(2))
        u = causal_conv1d(
            value, self.conv1d.weight.transpose(0, 1), stacked_bias([self.conv1d.bias])
        )  # (B, 1, L, e)
        delta, B, C = scan_inputs(u, self.x_proj.weight, self.state)
        y = selective_scan(
            u,
            delta,
            -torch.exp(self.A_log.float())[None],
            B,
            C,
            self.D.float()[None],
            delta_weight=self.dt_proj.weight[None],
            delta_bias=self.dt_proj.bias.float()[None],
            z=gate,
        )
        return self.out_proj(y).view_as(x)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operators compute for so many tokens."""
        return kernel_cost(tokens, self.conv1d.weight, self.A_log, self.dt_proj.weight)


def scan_inputs(u: Tensor, x_proj: Tensor, state: int) -> tuple[Tensor, ...]:
    """The low-rank step, B and C of every token.

    Shape:
        u: (B, K, L, e), x_proj: (R + 2N, e);
        results (B, K, L, R), (B, K, L, N), (B, K, L, N), each contiguous.
    """
    rank = x_proj.shape[0] - 2 * state
    return token_linears(u, *x_proj.split_with_sizes((rank, state, state)))


def step_projection(rank: int, inner: int) -> nn.Linear:
    """The linear layer of the step size, started so that steps lie log-uniform in 0.001..0.1."""
    layer = nn.Linear(rank, inner)
    nn.init.uniform_(layer.weight, -(rank**-0.5), rank**-0.5)
    low, high = map(math.log, DT_RANGE)
    steps = torch.exp(torch.rand(inner) * (high - low) + low).clamp(min=DT_FLOOR)
    with torch.no_grad():
        layer.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # inverse of softplus
    return layer


def decay_parameter(inner: int, state: int) -> nn.Parameter:
    """log(1..N) for each channel; the decay is minus its exponential. Free of weight decay."""
    rows = torch.arange(1, state + 1, dtype=torch.float32).log().repeat(inner, 1)
    return without_weight_decay(nn.Parameter(rows))


def skip_parameter(inner: int) -> nn.Parameter:
    """Ones, the scan's own skip. Free of weight decay."""
    return without_weight_decay(nn.Parameter(torch.ones(inner)))


def without_weight_decay(parameter: nn.Parameter) -> nn.Parameter:
    """Mark a parameter as optimisers look for it (mamba_ssm's attribute name)."""
    parameter._no_weight_decay = True  # type: ignore[attr-defined]
    return parameter
