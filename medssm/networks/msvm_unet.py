"""MSVM-UNet: a VMamba encoder and a decoder of multi-scale VSS blocks, in 2D and in 3D."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.blocks import FeedForward, MixerBlock, by_stage, rising_rates
from medssm.layers.convs import MapConv
from medssm.layers.linear import TokenLinear
from medssm.layers.mixers.cross_scan import CrossScan
from medssm.layers.mixers.multi_scale_scan import LEAN, MultiScaleFeedForward
from medssm.layers.patches import LargeKernelExpanding
from medssm.networks.sizes import check_sizes, crop, pad_to_multiple

LEAN_CROSS_SCAN: Mapping[str, Any] = MappingProxyType({"name": "cross_scan", **LEAN})
STEM = 4
"""The stem's two convolutions make the grid four times coarser."""


class Stem(nn.Module):
    """Two convolutions of stride 2 with norms, a GELU between.

    Shape:
        x: (B, *S, C), result (B, *S / 4, K).
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = MapConv(spatial_dims, in_channels, half, stride=2, bias=True)
        self.norm1 = nn.LayerNorm(half)
        self.conv2 = MapConv(spatial_dims, half, channels, stride=2, bias=True)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Embed the image."""
        return self.norm2(self.conv2(F.gelu(self.norm1(self.conv1(x)))))


class Downsampling(nn.Module):
    """A convolution of stride 2 to twice the width, then a norm.

    Shape:
        x: (B, *S, C), result (B, *S / 2, 2C).
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.conv = MapConv(spatial_dims, channels, 2 * channels, stride=2, bias=True)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the grid."""
        return self.norm(self.conv(x))


class Encoder(nn.Module):
    """VMamba without its classifier; every stage's map is given before it is halved.

    Shape:
        x: (B, *S, C), result: maps (B, *S / 4 / 2^i, width 2^i), finest first.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        width: int,
        depths: Sequence[int],
        mixer: Mapping[str, Any],
        ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()

        def block(channels: int, layer: int, rate: float) -> MixerBlock:
            feed_forward = FeedForward(channels, int(ratio * channels))
            return MixerBlock(channels, spatial_dims, mixer, rate, feed_forward, layer)

        rates = by_stage(rising_rates(drop_path, sum(depths)), depths)
        self.stem = Stem(spatial_dims, in_channels, width)
        self.stages = nn.ModuleList(
            nn.Sequential(*(block(width * 2**level, *place) for place in enumerate(each)))
            for level, each in enumerate(rates)
        )
        self.downs = nn.ModuleList(
            Downsampling(spatial_dims, width * 2**level) for level in range(len(depths) - 1)
        )
        for module in self.modules():
            if isinstance(module, FeedForward):
                for linear in (module.fc1, module.fc2):
                    nn.init.trunc_normal_(linear.weight, std=0.02)
                    nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of all stages."""
        maps = [self.stages[0](self.stem(x))]
        for down, stage in zip(self.downs, self.stages[1:], strict=True):
            maps.append(stage(down(maps[-1])))
        return maps


class Head(nn.Module):
    """Expanding to the size of the image, then the classes (FLKPE).

    Shape:
        x: (B, *S, C), result (B, *S factor, K).
    """

    def __init__(self, spatial_dims: int, channels: int, classes: int, factor: int) -> None:
        super().__init__()
        self.expanding = LargeKernelExpanding(spatial_dims, channels, channels, factor)
        self.classes = TokenLinear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Expand and classify."""
        return self.classes(self.expanding(x))


def multi_scale_blocks(
    channels: int,
    spatial_dims: int,
    rates: Sequence[float],
    mixer: Mapping[str, Any] = LEAN_CROSS_SCAN,
    ratio: float = 4.0,
    kernels: Sequence[int] = (1, 3, 5),
) -> nn.Sequential:
    """MS-VSS blocks, one a rate of dropped paths; their projections start as PyTorch starts them.

    Source:
        Chen et al., "MSVM-UNet", 2024: the decoder is not run through the encoder's start.
    """
    hidden = int(ratio * channels)
    blocks = nn.Sequential(
        *(
            MixerBlock(
                channels,
                spatial_dims,
                mixer,
                rate,
                MultiScaleFeedForward(channels, spatial_dims, hidden, kernels),
                layer,
            )
            for layer, rate in enumerate(rates)
        )
    )
    for module in blocks.modules():
        if isinstance(module, CrossScan):
            module.in_proj.reset_parameters()
            module.out_proj.reset_parameters()
    return blocks


class DecoderStep(nn.Module):
    """Expand, put the encoder's map beside it, mix the two, refine.

    Shape:
        x: (B, *S, 2C), skip (B, *2S, C), result as skip.
    """

    def __init__(self, spatial_dims: int, channels: int, blocks: nn.Module) -> None:
        super().__init__()
        self.up = LargeKernelExpanding(spatial_dims, 2 * channels, channels)
        self.join = TokenLinear(2 * channels, channels)
        self.blocks = blocks

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Double the grid."""
        return self.blocks(self.join(torch.cat((self.up(x), skip), dim=-1)))


class MSVMUNet(nn.Module):
    """MSVM-UNet with the official arithmetic by default, and its repairs as options.

    Args:
        spatial_dims: 2 as published, or 3.
        in_channels: Channels of the image.
        out_channels: Logits.
        width: Width of the finest level; doubles at each deeper one.
        depths: Blocks of each encoder stage, finest first.
        decoder_depths: Blocks of each decoder step, coarsest first.
        ratio: Inner width of the feed-forward parts as a multiple of the width.
        kernels: Edges of the depthwise windows in the decoder's feed-forward parts.
        drop_path: Most frequent dropped path of the encoder; rises from 0.
        decoder_drop_path: Most frequent dropped path of the decoder; falls to 0.
        mixer: What mixes tokens (`MIXERS`); ``{"name": "convolution"}`` is the twin without
            state space.
        decoder_mixer: Another one for the decoder; the same where not given.
        grey_as_rgb: Repeat an image of one channel to three, as published, so that weights of
            colour images fit.
        deep_supervision: While training, return logits of every decoder step.
        pad: Pad odd sizes with zeros and crop the logits, instead of refusing them.

    Shape:
        x: (B, C, *S), result (B, K, *S).

    Raises:
        BadArgumentError: Arguments that do not go together.

    Source:
        Chen et al., "MSVM-UNet", 2024; gndlwch2w/msvm-unet, commit abb1a8e.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 2,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 8, 2),
        decoder_depths: Sequence[int] = (2, 2, 2),
        ratio: float = 4.0,
        kernels: Sequence[int] = (1, 3, 5),
        drop_path: float = 0.2,
        decoder_drop_path: float = 0.2,
        mixer: Mapping[str, Any] = LEAN_CROSS_SCAN,
        decoder_mixer: Mapping[str, Any] | None = None,
        grey_as_rgb: bool = True,
        deep_supervision: bool = False,
        pad: bool = False,
    ) -> None:
        super().__init__()
        _check(width, depths, decoder_depths)
        self.pad, self.deep_supervision = pad, deep_supervision
        self.stem_channels = 3 if in_channels == 1 and grey_as_rgb else in_channels
        self.divisors = (STEM * 2 ** len(decoder_depths),) * spatial_dims
        self.encoder = Encoder(
            spatial_dims, self.stem_channels, width, depths, mixer, ratio, drop_path
        )
        falling = rising_rates(decoder_drop_path, sum(decoder_depths))[::-1]
        widths = [width * 2**level for level in reversed(range(len(decoder_depths)))]
        self.decoder = nn.ModuleList(
            DecoderStep(
                spatial_dims,
                channels,
                multi_scale_blocks(
                    channels, spatial_dims, rates, decoder_mixer or mixer, ratio, kernels
                ),
            )
            for channels, rates in zip(widths, by_stage(falling, decoder_depths), strict=True)
        )
        self.head = Head(spatial_dims, width, out_channels, STEM)
        watched = widths[:-1] if deep_supervision else []
        self.deep_heads = nn.ModuleList(TokenLinear(each, out_channels) for each in watched)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment; a list of logits, finest first, while training with deep supervision."""
        size = x.shape[2:]
        x = pad_to_multiple(x, self.divisors) if self.pad else check_sizes(x, self.divisors)
        if x.shape[1] == 1 and self.stem_channels > 1:
            x = x.expand(-1, self.stem_channels, *x.shape[2:])
        *skips, deepest = self.encoder(x.movedim(1, -1))
        maps = [deepest]
        for step, skip in zip(self.decoder, reversed(skips), strict=True):
            maps.append(step(maps[-1], skip))
        logits = crop(self.head(maps[-1]).movedim(-1, 1), size)
        if not (self.training and self.deep_supervision):
            return logits
        inner = zip(self.deep_heads, maps[1:-1], strict=True)
        return [logits, *reversed([head(each).movedim(-1, 1) for head, each in inner])]


def _check(width: int, depths: Sequence[int], decoder_depths: Sequence[int]) -> None:
    if len(depths) != len(decoder_depths) + 1 or len(depths) < 2:
        raise BadArgumentError(
            f"decoder_depths needs one entry fewer than depths; "
            f"found {list(decoder_depths)} for {list(depths)}"
        )
    if width % 2:
        raise BadArgumentError(f"width must be even, found {width}; take {width + 1}")
