"""MSVM-UNet's multi-scale VSS: a cross-scan, then a feed-forward part with several windows."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear
from medssm.layers.mixers.cross_scan import CrossScan

LEAN: Mapping[str, Any] = MappingProxyType(
    {"state": 1, "expand": 1.0, "gate": "none", "conv_bias": False}
)
"""VMamba's "v05_noz": one state, no widening, no gate."""


class MultiScaleFeedForward(nn.Module):
    """Linear, GELU, h + sum_k dw_k(h), linear: depthwise windows of several sizes.

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        hidden: Inner width.
        kernels: Edges of the windows.

    Shape:
        x: (B, *S, C), result the same.
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        hidden: int,
        kernels: Sequence[int] = (1, 3, 5),
    ) -> None:
        super().__init__()
        self.fc1 = TokenLinear(channels, hidden)
        self.convs = nn.ModuleList(
            MapConv(spatial_dims, hidden, hidden, kernel=kernel, groups=hidden)
            for kernel in kernels
        )
        self.fc2 = TokenLinear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Widen, look around at every scale, narrow."""
        h = F.gelu(self.fc1(x))
        around = h
        for conv in self.convs:
            around = around + conv(h)
        return self.fc2(around)


class MultiScaleScan(nn.Module):
    """The MS-VSS block as one mixer: s + F(LN(s)) with s = SS2D(x).

    What surrounds it, a norm before and a residual around, is the caller's, as for every mixer;
    MSVM-UNet itself has a second residual path there (`networks/msvm_unet.py`).

    Args:
        channels: Width of the map.
        spatial_dims: Rank of the map.
        state: States a channel of the scan.
        ratio: Inner width of the feed-forward part as a multiple of `channels`.
        kernels: Edges of its depthwise windows.

    Shape:
        x: (B, *S, C), result the same.

    Source:
        Chen et al., "MSVM-UNet", 2024.
    """

    over = "grid"
    causal = False

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        state: int = 1,
        ratio: float = 4.0,
        kernels: Sequence[int] = (1, 3, 5),
    ) -> None:
        super().__init__()
        self.scan = CrossScan(channels, spatial_dims, **{**LEAN, "state": state})
        self.norm = nn.LayerNorm(channels)
        hidden = int(ratio * channels)
        self.feed_forward = MultiScaleFeedForward(channels, spatial_dims, hidden, kernels)

    def forward(self, x: Tensor) -> Tensor:
        """Scan the map, then look around at every scale."""
        scanned = self.scan(x)
        return scanned + self.feed_forward(self.norm(scanned))
