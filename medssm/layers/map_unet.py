"""The small U-Net that refines coil sensitivities: two channels in, two out."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.layers.dims import convolution, dropout, mean_pool, transposed_convolution

SPATIAL_DIMS = 2
SLOPE = 0.2


class DoubleConv(nn.Module):
    """Twice: 3 x 3 convolution without bias, instance norm, leaky ReLU, dropout of channels.

    Shape:
        x: (B, C, H, W), result (B, K, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, drop: float) -> None:
        super().__init__()
        self.first = convolution(SPATIAL_DIMS, in_channels, out_channels)
        self.second = convolution(SPATIAL_DIMS, out_channels, out_channels)
        self.drop = dropout(SPATIAL_DIMS, drop)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve twice."""
        for conv in (self.first, self.second):
            x = self.drop(F.leaky_relu(F.instance_norm(conv(x)), SLOPE))
        return x


class MapUNet(nn.Module):
    """U-Net with mean pooling, transposed convolutions and no residual.

    Args:
        in_channels: Of the input.
        out_channels: Of the result.
        filters: Of the first level; they double with every level.
        pools: Levels below the first.
        drop: Probability of dropping a channel.

    Shape:
        x: (B, C, H, W), result (B, K, H, W); H and W at least 2**pools, above it for instance
        norm to have more than one value.

    Source:
        RECON section 2.5.
    """

    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 2,
        filters: int = 8,
        pools: int = 4,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [filters * 2**level for level in range(pools + 1)]
        inputs = [in_channels, *widths]
        self.down = nn.ModuleList(
            DoubleConv(inputs[level], widths[level], drop) for level in range(pools)
        )
        self.bottom = DoubleConv(inputs[pools], widths[pools], drop)
        upwards = widths[::-1]
        self.grow = nn.ModuleList(
            transposed_convolution(SPATIAL_DIMS, wide, narrow) for wide, narrow in pairwise(upwards)
        )
        self.up = nn.ModuleList(
            DoubleConv(wide, narrow, drop) for wide, narrow in pairwise(upwards[:-1])
        )
        # the number of the last level stands in its keys, as in the official ones
        self.last = nn.ModuleDict({str(pools - 1): nn.ModuleDict({
            "block": DoubleConv(widths[1], widths[0], drop),
            "head": convolution(SPATIAL_DIMS, filters, out_channels, kernel=1, bias=True),
        })})  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Refine."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = mean_pool(x)
        x = self.bottom(x)
        last: Any = next(iter(self.last.values()))
        for grow, block in zip(self.grow, (*self.up, last["block"]), strict=True):
            skip = skips.pop()
            x = F.leaky_relu(F.instance_norm(grow(x)), SLOPE)
            missing = (skip.shape[-1] - x.shape[-1], skip.shape[-2] - x.shape[-2])
            # nothing or one; asked for without a branch, so that a program takes any size
            x = F.pad(x, (0, missing[0], 0, missing[1]), mode="reflect")
            x = block(torch.cat((x, skip), 1))
        return last["head"](x)


class NormalisedMapUNet(nn.Module):
    """`MapUNet` on input without mean and spread, padded to multiples of 16.

    Args:
        unet: What runs inside.
        groups: Groups of channels, each with its own mean and standard deviation.

    Shape:
        x: (B, C, H, W), result the same.
    """

    def __init__(self, unet: MapUNet, groups: int = 2) -> None:
        super().__init__()
        self.unet, self.groups = unet, groups

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, pad, refine, cut, restore."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        mean, spread = grouped.mean(-1, keepdim=True), grouped.std(-1, keepdim=True)
        plain = ((grouped - mean) / spread).reshape(x.shape)
        height, width = x.shape[-2:]
        extra = [-size % 16 for size in (width, height)]
        pads = [part for each in extra for part in (each // 2, each - each // 2)]
        out = self.unet(F.pad(plain, pads))
        out = out[..., pads[2] : pads[2] + height, pads[0] : pads[0] + width]
        return (out.reshape(x.shape[0], self.groups, -1) * spread + mean).reshape(out.shape)
