"""GroupMamba: each group of channels is scanned along one direction; gates join the groups."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.channel_gate import ChannelGate
from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear
from medssm.layers.mixers.mamba import KernelCost
from medssm.layers.mixers.orders import axis_routes
from medssm.layers.mixers.routed_scan import RoutedScan
from medssm.ops.routes import Routes, axes3d
from medssm.ops.scan import selective_scan

GROUPS = {1: 2, 2: 4, 3: 8}
"""Groups of channels of each rank: a direction each."""
NARROWEST = 4
"""Channels of a group at least: the norm of one is zero, that of two a sign."""
FOUR_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 1, 0))


def group_routes(*size: int) -> Routes:
    """The direction of each group: both ways of a sequence, rows and columns of an image.

    In a volume, three axis orders and the first one turned round, each both ways.
    """
    return axes3d(*size, FOUR_ORDERS) if len(size) == 3 else axis_routes(*size)


class GroupMamba(nn.Module):
    """As many small SS2D as directions, each on its own share of the channels.

    h = LN(x); for group k with its channels h_k: [v | z] = W_k h_k, u = silu(conv_k(v)),
    y_k = V_k (LN_k(S6(u along direction k)) * silu(z)); then

        m = concat(y_1, ..., y_K) * s * h,   g = sigmoid(W_2 relu(W_1 mean(h))),
        result W LN(m * g), with the same LN as at the entrance

    Args:
        channels: Width of the map; a multiple of 4 in images and of 8 in volumes.
        spatial_dims: Rank of the map; 4 groups in images, 8 in volumes (ours).
        state: States a channel.
        dt_rank: Rank of the step projections; ceil(channels of a group / 16) when not given.
        reduction: `channels` over the hidden width of the gate.
        skip: "product" multiplies the groups' outputs by s h, as the code does; "sum" adds s h,
            as a residual would.

    Shape:
        x: (B, *S, C), result the same.

    Raises:
        BadArgumentError: The channels do not divide into groups of four or more.

    Source:
        Shaker et al., "GroupMamba", 2024; Amshaker/GroupMamba, commit c1800ed, from whose code
        the product with h is taken: the paper's equation for it is unconfirmed.
    """

    over = "grid"
    causal = False

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        state: int = 1,
        dt_rank: int | None = None,
        reduction: int = 16,
        skip: Literal["product", "sum"] = "product",
    ) -> None:
        super().__init__()
        groups = GROUPS[spatial_dims]
        if channels % groups or channels < NARROWEST * groups:
            wanted = max(NARROWEST, -(-channels // groups)) * groups
            raise BadArgumentError(
                f"GroupMamba splits channels into {groups} groups in {spatial_dims}D, {NARROWEST}"
                f" or more in each; found {channels} channels, take {wanted}."
            )
        width = channels // groups
        self.skip = skip
        self.norm = nn.LayerNorm(channels)
        self.gate = ChannelGate(channels, reduction)
        self.value_weight = _grouped_weight(groups, width)
        self.gate_weight = _grouped_weight(groups, width)
        self.conv = MapConv(spatial_dims, channels, channels, groups=channels, bias=True)
        self.scan = RoutedScan(width, groups, state, dt_rank or math.ceil(width / 16))
        self.group_norm_weight = nn.Parameter(torch.ones(groups, width))
        self.group_norm_bias = nn.Parameter(torch.zeros(groups, width))
        self.out_weight = _grouped_weight(groups, width)
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.out_proj = TokenLinear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, scan each group its way, join."""
        h = self.norm(x)
        mixed = self.groups(h) * (self.skip_scale * h if self.skip == "product" else 1)
        if self.skip == "sum":
            mixed = mixed + self.skip_scale * h
        return self.out_proj(self.norm(mixed * self.gate(h)))

    def groups(self, h: Tensor) -> Tensor:
        """Every group of channels along its direction.

        Shape:
            h: (B, *S, C), result the same.
        """
        count = len(self.value_weight)

        def apart(each: Tensor) -> Tensor:  # (B, *S, C) to (B, K, L, C / K), a view
            return each.reshape(each.shape[0], -1, count, each.shape[-1] // count).transpose(1, 2)

        of_group = apart(h)
        value = torch.einsum("bkld,ked->blke", of_group, self.value_weight)
        gate = torch.einsum("bkld,ked->bkle", of_group, self.gate_weight)
        u = apart(F.silu(self.conv(value.reshape(h.shape))))
        routes = group_routes(*h.shape[1:-1])
        y = selective_scan(u, **self.scan.arguments(u), routes=routes, merge="none")
        y = F.layer_norm(y.float(), y.shape[-1:])
        y = y * self.group_norm_weight[:, None] + self.group_norm_bias[:, None]
        y = y.to(gate.dtype) * F.silu(gate)
        return torch.einsum("bkld,ked->blke", y, self.out_weight).reshape(h.shape)

    def kernel_cost(self, tokens: int) -> KernelCost:
        """What the fused operator computes for so many tokens."""
        return self.scan.kernel_cost(tokens)


def _grouped_weight(groups: int, width: int) -> nn.Parameter:
    bound = width**-0.5  # PyTorch's own start of a linear layer
    return nn.Parameter(torch.empty(groups, width, width).uniform_(-bound, bound))
