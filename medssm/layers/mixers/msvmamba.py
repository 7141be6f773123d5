"""MSVMamba's multi-scale scan: one route at full size, the others at half size."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.channel_gate import ChannelGate
from medssm.layers.convs import MapConv
from medssm.layers.dims import resize
from medssm.layers.linear import TokenLinear, token_linears
from medssm.layers.mixers.mamba import KernelCost
from medssm.layers.mixers.orders import axis_route
from medssm.layers.mixers.routed_scan import RoutedScan
from medssm.ops.routes import forward
from medssm.ops.scan import selective_scan


class MultiScaleMamba(nn.Module):
    """A forward row-major scan of the map, and the other directions over a map of half the size.

    [v | z] = W_in t;  u_0 = silu(conv3(v)), full size;  u_1 = silu(conv7(v)), stride 2;

        y_0 = S6_full(u_0 by rows)
        y_1 = sum over the other directions of S6_half(u_1 along it)
        result W_out(SE(LN(y_0) + up(LN(y_1))) * silu(z))

    The directions of y_1 are read as one long sequence: reversed rows, columns, reversed columns,
    with one set of parameters, and the state goes on from the end of one into the next. Here it is
    handed over from scan to scan, and no sequence is joined.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map; five directions at half size in volumes are ours.
        state: States a channel.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        carry_state: Whether the state goes on over the seams, as published, or starts anew.
        channel_gate: Whether squeeze and excitation is applied to the sum.

    Shape:
        x: (B, *S, C), result the same; odd sizes are rounded up when halved.

    Source:
        Shi et al., "Multi-scale VMamba", 2024; YuHengsss/MSVMamba, commit c394019. That the
        half-size sum is normalised before it is interpolated is our reading, unconfirmed.
    """

    over = "grid"
    causal = False

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        state: int = 1,
        expand: int = 2,
        dt_rank: int | None = None,
        carry_state: bool = True,
        channel_gate: bool = True,
    ) -> None:
        super().__init__()
        inner, rank = expand * channels, dt_rank or math.ceil(channels / 16)
        self.spatial_dims, self.carry_state = spatial_dims, carry_state
        self.in_proj = TokenLinear(channels, 2 * inner, bias=False)
        self.conv = MapConv(spatial_dims, inner, inner, groups=inner, bias=True)
        self.half_conv = MapConv(
            spatial_dims, inner, inner, kernel=7, stride=2, groups=inner, bias=True
        )
        self.full_scan = RoutedScan(inner, 1, state, rank)
        self.half_scan = RoutedScan(inner, 1, state, rank)
        self.norm = nn.LayerNorm(inner)
        self.gate = ChannelGate(inner, 8, bias=False) if channel_gate else None
        self.out_proj = TokenLinear(inner, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scan both sizes, add, gate."""
        value, gate = token_linears(x, *self.in_proj.weight.chunk(2))
        whole, small = F.silu(self.conv(value)), F.silu(self.half_conv(value))
        tokens = whole.flatten(1, -2)
        y = self.norm(self.full_scan(tokens, forward(tokens.shape[1]))).view_as(whole)
        up = resize(self.norm(self.scan_half(small)).movedim(-1, 1), x.shape[1:-1])
        y = y + up.movedim(1, -1)
        if self.gate is not None:
            y = y * self.gate(y)
        return self.out_proj(y * F.silu(gate))

    def scan_half(self, u: Tensor) -> Tensor:
        """All directions but the first, added up.

        Shape:
            u: (B, *S, e), result the same.
        """
        tokens, size = u.flatten(1, -2), u.shape[1:-1]
        arguments = self.half_scan.arguments(tokens)
        total: Tensor | None = None
        state: Tensor | None = None
        for index in range(1, 2 * len(size)):
            y, state = selective_scan(
                tokens,
                **arguments,
                routes=axis_route(index, *size),
                initial_state=state if self.carry_state else None,
                return_last_state=True,
            )
            total = y if total is None else total + y
        assert total is not None
        return total.view_as(u)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the scans at half size compute; that at full size counts itself."""
        macs, flops = self.half_scan.kernel_cost(tokens // 2**self.spatial_dims)
        times = 2 * self.spatial_dims - 1
        return KernelCost(times * macs, times * flops)
