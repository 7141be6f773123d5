"""Mamba with several routes, each with a convolution, projections and a decay of its own."""

import math
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from medssm.layers.linear import TokenLinear, token_linears
from medssm.layers.mixers.mamba import (
    CausalConv,
    KernelCost,
    decay_parameter,
    kernel_cost,
    scan_inputs,
    skip_parameter,
    stacked_bias,
    step_projection,
)
from medssm.ops.conv import causal_conv1d
from medssm.ops.routes import Routes
from medssm.ops.scan import selective_scan

LengthT = TypeVar("LengthT", int, Tensor)


class Branch(NamedTuple):
    """Parameters of one route.

    Shape:
        taps: (e, 1, w), bias: (e,), x_proj: (R + 2N, e), step: (e, R), step_bias: (e,),
        A_log: (e, N), D: (e,).
    """

    taps: Tensor
    bias: Tensor | None
    x_proj: Tensor
    step: Tensor
    step_bias: Tensor
    A_log: Tensor
    D: Tensor


class BranchedMamba(nn.Module, ABC):
    """Shared projections in and out around one scan call over the routes of all branches.

    The keys are those of Mamba, once a branch with its suffix: ``conv1d_b``, ``A_b_log``.

    Args:
        branches: Suffix of each branch, "" for the first.
        channels: Width of the tokens.
        state: States a channel.
        conv_width: Taps of the causal convolutions.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        projection_bias: Give the projections in and out a bias.
        conv_bias: Give the convolutions one.

    Shape:
        x: (B, *S, C), result the same.
    """

    over = "sequence"
    causal = False

    def __init__(
        self,
        branches: tuple[str, ...],
        channels: int,
        *,
        state: int,
        conv_width: int,
        expand: int,
        dt_rank: int | None,
        projection_bias: bool = False,
        conv_bias: bool = True,
    ) -> None:
        super().__init__()
        inner, rank = expand * channels, dt_rank or math.ceil(channels / 16)
        self.branches, self.state, self.scale = branches, state, 1.0
        self.in_proj = TokenLinear(channels, 2 * inner, bias=projection_bias)
        for suffix in branches:
            self.add_module(f"conv1d{suffix}", CausalConv(inner, conv_width, conv_bias))
            self.add_module(f"x_proj{suffix}", nn.Linear(inner, rank + 2 * state, bias=False))
            self.add_module(f"dt_proj{suffix}", step_projection(rank, inner))
            self.register_parameter(f"A{suffix}_log", decay_parameter(inner, state))
            self.register_parameter(f"D{suffix}", skip_parameter(inner))
        self.out_proj = TokenLinear(inner, channels, bias=projection_bias)

    @abstractmethod
    def order(self, size: tuple[int, ...]) -> Routes | None:
        """The route of each branch over a grid, or None for one branch in the order of memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens along the routes."""
        tokens = x.flatten(1, -2)  # (B, L, C)
        value, gate = token_linears(tokens, *self.in_proj.weight.chunk(2))
        if self.in_proj.bias is not None:
            shift, shift_of_gate = self.in_proj.bias.chunk(2)
            value, gate = value + shift, gate + shift_of_gate
        y = self.scan(value, gate, tuple(x.shape[1:-1]))
        if self.scale != 1.0 and self.out_proj.bias is not None:
            # the merge comes before the projection, whose bias it leaves alone
            return self.out_proj(y * self.scale).view_as(x)
        y = self.out_proj(y)
        return (y if self.scale == 1.0 else y * self.scale).view_as(x)

    def scan(
        self, value: Tensor, gate: Tensor, size: tuple[int, ...], local_window: int = 0
    ) -> Tensor:
        """Convolve, scan and gate; the sum over the routes.

        Shape:
            value, gate: (B, L, e), result the same.
        """
        routes = self.order(size)
        u = self.convolve(value, routes)
        return self.select(u, routes=routes, z=gate, local_window=local_window)

    def convolve(self, value: Tensor, routes: Routes | None) -> Tensor:
        """The causal convolution of every branch along its route.

        Shape:
            value: (B, L, e), result (B, K, L, e).
        """
        sets = [self.branch(suffix) for suffix in self.branches]
        return causal_conv1d(
            value,
            torch.stack([each.taps[:, 0] for each in sets]),
            stacked_bias([each.bias for each in sets]),
            routes=routes,
        )

    def seen(self, u: Tensor, length: int | Tensor) -> Tensor:
        """What the branches may see of padded sequences; here there is no padding.

        Shape:
            u: (B, K, W, e), length: one or (B,); result as u.
        """
        del length
        return u

    def select(
        self,
        u: Tensor,
        *,
        routes: Routes | None = None,
        z: Tensor | None = None,
        lengths: Tensor | None = None,
        merge: Literal["sum", "none"] = "sum",
        local_window: int = 0,
    ) -> Tensor:
        """The selective scan of all branches over what each has convolved.

        Shape:
            u: (B, K, L, e), result (B, L, e), or (B, K, L, e) unmerged.
        """
        sets = [self.branch(suffix) for suffix in self.branches]
        ways = [
            scan_inputs(u[:, index : index + 1], each.x_proj, self.state)
            for index, each in enumerate(sets)
        ]
        delta, B, C = (
            parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            for parts in zip(*ways, strict=True)
        )
        return selective_scan(
            u,
            delta,
            -torch.exp(torch.stack([each.A_log for each in sets]).float()),
            B,
            C,
            torch.stack([each.D for each in sets]).float(),
            delta_weight=torch.stack([each.step for each in sets]),
            delta_bias=torch.stack([each.step_bias for each in sets]).float(),
            routes=routes,
            z=z,
            lengths=lengths,
            merge=merge,
            local_window=local_window,
        )

    def padded(self, length: LengthT) -> LengthT:
        """Steps of a sequence: its length, or more where a mixer pads it."""
        return length

    def window_of(self, length: int) -> int:
        """The local window of a sequence; 0 for none."""
        del length
        return 0

    @property
    def fixed_window(self) -> bool:
        """Whether sequences of all lengths have the same local window."""
        return True

    def branch(self, suffix: str) -> Branch:
        """The parameters of one branch."""
        conv = cast("CausalConv", getattr(self, f"conv1d{suffix}"))
        step = cast("nn.Linear", getattr(self, f"dt_proj{suffix}"))
        x_proj = cast("nn.Linear", getattr(self, f"x_proj{suffix}"))
        A_log, D = getattr(self, f"A{suffix}_log"), getattr(self, f"D{suffix}")
        return Branch(conv.weight, conv.bias, x_proj.weight, step.weight, step.bias, A_log, D)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operators compute for so many tokens."""
        first = self.branch("")
        return kernel_cost(tokens, first.taps, first.A_log, first.step, len(self.branches))
