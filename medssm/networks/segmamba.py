"""SegMamba: gated convolutions and three-orientation Mamba layers under UNETR-style blocks."""

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.blocks import MixerBlock
from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear
from medssm.layers.norms import MapInstanceNorm
from medssm.layers.residual import InstanceResidualBlock, UpBlock
from medssm.networks.sizes import check_sizes, crop, pad_to_multiple

THREE_AXES: Mapping[str, Any] = MappingProxyType({"name": "segmamba"})


class GatedSpatialConvolution(nn.Module):
    """x + relu(IN(conv1(a + b))), a of two 3^d convolutions in a row, b of one 1^d beside them.

    Shape:
        x: (B, *S, C), result the same.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.conv1 = MapConv(spatial_dims, channels, channels, bias=True)
        self.conv2 = MapConv(spatial_dims, channels, channels, bias=True)
        self.beside = TokenLinear(channels, channels)
        self.after = TokenLinear(channels, channels)
        self.norm = MapInstanceNorm()

    def forward(self, x: Tensor) -> Tensor:
        """Look at the neighbours, then join both branches."""
        a = F.relu(self.norm(self.conv1(x)))
        a = F.relu(self.norm(self.conv2(a)))
        b = F.relu(self.norm(self.beside(x)))
        return x + F.relu(self.norm(self.after(a + b)))


class ChannelMlp(nn.Module):
    """Instance norm, then a two-layer perceptron on every voxel, for the skip alone.

    Shape:
        x: (B, *S, C), result the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = MapInstanceNorm()
        self.fc1 = TokenLinear(channels, 2 * channels)
        self.fc2 = TokenLinear(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Widen, bend, narrow."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class SegMamba(nn.Module):
    """SegMamba on our routes: three orders in one scan, slices counted on the grid itself.

    Args:
        spatial_dims: 3 as published, or 2.
        in_channels: Channels of the image.
        out_channels: Logits.
        widths: Width of each level, finest first; each halves the grid.
        depths: Mamba layers of each level.
        bottleneck: Width of the deepest map.
        mixer: What mixes tokens (`MIXERS`).
        pad: Pad odd sizes with zeros and crop the logits, instead of refusing them.

    Shape:
        x: (B, C, *S), result (B, K, *S).

    Raises:
        BadArgumentError: `widths` and `depths` do not go together.

    Source:
        Xing et al., "SegMamba", 2024. Slices of any size, other widths and 2D are ours; the
        insides of the blocks follow a description of the network, unconfirmed to the key.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        widths: Sequence[int] = (48, 96, 192, 384),
        depths: Sequence[int] = (2, 2, 2, 2),
        bottleneck: int = 768,
        mixer: Mapping[str, Any] = THREE_AXES,
        pad: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths) or len(widths) < 2:
            raise BadArgumentError(
                f"widths and depths need one entry a level and two levels at least; found "
                f"{list(widths)} and {list(depths)}"
            )
        self.pad = pad
        self.divisors = (2 ** len(widths),) * spatial_dims
        self.stem = MapConv(spatial_dims, in_channels, widths[0], kernel=7, stride=2, bias=True)
        self.norm = MapInstanceNorm()
        self.downs = nn.ModuleList(
            MapConv(spatial_dims, a, b, kernel=2, stride=2, padding=0, bias=True)
            for a, b in itertools.pairwise(widths)
        )
        self.gates = nn.ModuleList(GatedSpatialConvolution(spatial_dims, each) for each in widths)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                MixerBlock(width, spatial_dims, mixer, layer=layer) for layer in range(depth)
            )
            for width, depth in zip(widths, depths, strict=True)
        )
        self.skip_mlps = nn.ModuleList(map(ChannelMlp, widths))
        inner = (in_channels, *widths)
        outer = (*widths, bottleneck)
        self.skips = nn.ModuleList(
            InstanceResidualBlock(spatial_dims, a, b) for a, b in zip(inner, outer, strict=True)
        )
        self.ups = nn.ModuleList(
            UpBlock(spatial_dims, deep, wide)
            for deep, wide in zip(outer[:0:-1], outer[-2::-1], strict=True)
        )
        self.refine = InstanceResidualBlock(spatial_dims, widths[0], widths[0])
        self.head = TokenLinear(widths[0], out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Segment."""
        size = x.shape[2:]
        x = pad_to_multiple(x, self.divisors) if self.pad else check_sizes(x, self.divisors)
        image = x.movedim(1, -1)
        maps = [block(each) for block, each in zip(self.skips, self._encode(image), strict=True)]
        x = maps[-1]
        for up, skip in zip(self.ups, reversed(maps[:-1]), strict=True):
            x = up(x, skip)
        return crop(self.head(self.refine(x)).movedim(-1, 1), size)

    def _encode(self, image: Tensor) -> list[Tensor]:
        """The image and the map of every level, finest first."""
        maps, x = [image], image
        for level, (gate, stage, mlp) in enumerate(
            zip(self.gates, self.stages, self.skip_mlps, strict=True)
        ):
            x = self.downs[level - 1](self.norm(x)) if level else self.stem(x)
            x = gate(x)
            for block in cast("nn.ModuleList", stage):
                x = block(x)
            maps.append(mlp(x))
        return maps
