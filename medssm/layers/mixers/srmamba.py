"""The sequence-reordering mixer of MambaMIL: in order, and in strides."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medssm.layers.mixers.branches import BranchedMamba, LengthT
from medssm.ops.routes import Routes, forward, padded_length, restride
from medssm.ops.routes.route import kept


@kept
def in_order_and_in_strides(length: int, rate: int) -> Tensor:
    """The order of memory, and 0, rate, 2 rate, ..., then 1, rate + 1, ..."""
    return (forward(length) + restride(length, rate)).table


class SequenceReorderingMamba(BranchedMamba):
    """Two routes, each with its own convolution, projections and decay; shared in and out.

    The second route reads the sequence as rows of r tokens, column by column. As published, the
    projected tokens are first padded with zero rows to a multiple of r; such a row lies inside the
    second route, and through the bias of the convolution it is not without effect.

    Args:
        channels: Width of the tokens.
        state: States a channel.
        conv_width: Taps of the causal convolutions.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        rate: Stride r of the second route.
        padding: "zeros" as published; "none" skips what lies beyond the end.
        window: Local window of LBMamba in both routes; 0 for none.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Yang et al., "MambaMIL", 2024, SR-Mamba; the local window is ours (LBMamba, 2025).
    """

    def __init__(
        self,
        channels: int,
        state: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        rate: int = 10,
        padding: Literal["zeros", "none"] = "zeros",
        window: int = 0,
    ) -> None:
        super().__init__(
            ("", "_b"),
            channels,
            state=state,
            conv_width=conv_width,
            expand=expand,
            dt_rank=dt_rank,
        )
        self.rate, self.padding, self.window = rate, padding, window
        self.causal = not window and rate == 1

    def scan(
        self, value: Tensor, gate: Tensor, size: tuple[int, ...], local_window: int = 0
    ) -> Tensor:
        """Pad, convolve, scan and gate; crop."""
        length = math.prod(size)
        wanted = self.padded(length)
        if wanted > length:
            value, gate = (F.pad(each, (0, 0, 0, wanted - length)) for each in (value, gate))
        routes = self.order((wanted,))
        u = self.seen(self.convolve(value, routes), length)
        y = self.select(u, routes=routes, z=gate, local_window=local_window or self.window)
        return y[:, :length] if wanted > length else y

    def seen(self, u: Tensor, length: int | Tensor) -> Tensor:
        """Keep a local window of the first route, which has no padding, from what lies behind.

        Shape:
            u: (B, 2, W, e), length: one or (B,); result as u.
        """
        if not self.window or (isinstance(length, int) and length == u.shape[2]):
            return u
        steps = torch.arange(u.shape[2], device=u.device)
        ends = length if isinstance(length, int) else length[:, None]
        inside = (steps < ends).view(-1, 1, u.shape[2], 1)
        return torch.cat((torch.where(inside, u[:, :1], 0.0), u[:, 1:]), dim=1)

    def padded(self, length: LengthT) -> LengthT:
        """Steps of a sequence: a multiple of the rate, as published."""
        return padded_length(length, self.rate) if self.padding == "zeros" else length

    def window_of(self, length: int) -> int:
        """The local window; 0 for none."""
        del length
        return self.window

    def order(self, size: tuple[int, ...]) -> Routes:
        """In order, and in strides."""
        return in_order_and_in_strides(math.prod(size), self.rate)
