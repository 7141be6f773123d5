"""LightM-UNet: a residual U-Net whose encoder mixes tokens with Mamba, in 2D and 3D."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.convs import MapConv, SeparableConv
from medssm.layers.dims import max_pool, upsample
from medssm.layers.linear import TokenLinear
from medssm.layers.mixers import build_mixer
from medssm.layers.norms import MapNorm, NormName
from medssm.networks.sizes import check_sizes, crop, pad_to_multiple

ConvolutionName = Literal["separable", "full"]
MAMBA: Mapping[str, Any] = MappingProxyType({"name": "mamba"})


class RvmLayer(nn.Module):
    """Residual vision Mamba layer: mixer and scaled skip, then a change of width.

    One norm is used twice, as released.

    Shape:
        x: (B, *S, C), result (B, *S, K).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        mixer: Mapping[str, Any],
        layer: int = 0,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels)
        self.mixer = build_mixer(mixer, in_channels, spatial_dims, layer)
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.proj = TokenLinear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Mix, add the scaled input, project."""
        return self.proj(self.norm(torch.addcmul(self.mixer(self.norm(x)), self.skip_scale, x)))


class RvmBlock(nn.Module):
    """Residual block of two RVM layers, each behind a norm and a ReLU."""

    def __init__(
        self, channels: int, spatial_dims: int, mixer: Mapping[str, Any], norm: NormName
    ) -> None:
        super().__init__()
        self.norm1 = MapNorm(channels, norm)
        self.layer1 = RvmLayer(channels, channels, spatial_dims, mixer)
        self.norm2 = MapNorm(channels, norm)
        self.layer2 = RvmLayer(channels, channels, spatial_dims, mixer, layer=1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, *S, C) to the same."""
        h = self.layer1(F.relu(self.norm1(x)))
        return self.layer2(F.relu(self.norm2(h))) + x


class ConvBlock(nn.Module):
    """Residual block of two full 3^d convolutions: the first upload's decoder block."""

    def __init__(self, channels: int, spatial_dims: int, norm: NormName) -> None:
        super().__init__()
        self.norm1 = MapNorm(channels, norm)
        self.conv1 = MapConv(spatial_dims, channels, channels)
        self.norm2 = MapNorm(channels, norm)
        self.conv2 = MapConv(spatial_dims, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, *S, C) to the same."""
        h = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(h))) + x


class SeparableUpBlock(nn.Module):
    """The released decoder block: one separable convolution with a scaled skip inside two norms."""

    def __init__(self, channels: int, spatial_dims: int, norm: NormName) -> None:
        super().__init__()
        self.norm1 = MapNorm(channels, norm)
        self.conv = SeparableConv(spatial_dims, channels, channels)
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.norm2 = MapNorm(channels, norm)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, *S, C) to the same."""
        h = torch.addcmul(self.conv(F.relu(self.norm1(x))), self.skip_scale, x)
        return F.relu(self.norm2(h))


class DownByScan(nn.Module):
    """RVM layer to the next width, then a maximum over windows of two."""

    def __init__(
        self, in_channels: int, out_channels: int, spatial_dims: int, mixer: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.layer = RvmLayer(in_channels, out_channels, spatial_dims, mixer)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, *S, C) to (B, *S // 2, K)."""
        return max_pool(self.layer(x).movedim(-1, 1)).movedim(1, -1)


class UpStep(nn.Module):
    """Halve the channels, double the size, add the encoder's map, refine."""

    def __init__(self, channels: int, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.reduce = TokenLinear(2 * channels, channels, bias=False)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Shape: x (B, *S, 2C), skip (B, *2S, C), result as skip."""
        x = upsample(self.reduce(x).movedim(-1, 1)).movedim(1, -1) + skip
        for block in self.blocks:
            x = block(x)
        return x


class Head(nn.Module):
    """Norm, ReLU and the classes; the released layout scales each channel before mixing."""

    def __init__(
        self, channels: int, classes: int, norm: NormName, convolutions: ConvolutionName
    ) -> None:
        super().__init__()
        self.norm = MapNorm(channels, norm)
        separable = convolutions == "separable"
        self.scale = nn.Parameter(torch.empty(channels).uniform_(-1, 1)) if separable else None
        self.shift = nn.Parameter(torch.empty(channels).uniform_(-1, 1)) if separable else None
        self.classes = TokenLinear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: (B, *S, C) to (B, *S, K)."""
        x = F.relu(self.norm(x))
        if self.scale is not None and self.shift is not None:
            x = torch.addcmul(self.shift, x, self.scale)
        return self.classes(x)


class LightMUNet(nn.Module):
    """LightM-UNet with the released arithmetic by default, and its repairs as options.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        out_channels: Logits.
        init_filters: Width of the finest level; doubles at each deeper one.
        blocks_down: Blocks of each encoder level, finest first.
        blocks_up: Blocks of each decoder level, coarsest first; one fewer than `blocks_down`.
        dropout: Rate of the channel dropout after the stem.
        mixer: What mixes tokens (`MIXERS`); ``{"name": "none"}`` is the twin without state space.
        norm: Group norm of 8 groups (released) or instance norm.
        convolutions: "separable" as released; "full" 3^d as in the first upload.
        scan_from_level: Levels finer than this use blocks of full convolutions, not the mixer.
        stem_stride: 2 works at half resolution and interpolates the logits.
        deep_supervision: While training, return logits of every decoder level, finest first.
        pad: Pad odd sizes with zeros and crop the logits, instead of refusing them.

    Shape:
        x: (B, C, *S), result (B, K, *S).

    Raises:
        BadArgumentError: Arguments that do not go together.

    Source:
        Liao et al., "LightM-UNet", 2024; MrBlankness/LightM-UNet, commit 6b72e27.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        init_filters: int = 32,
        blocks_down: Sequence[int] = (1, 2, 2, 4),
        blocks_up: Sequence[int] = (1, 1, 1),
        dropout: float = 0.0,
        mixer: Mapping[str, Any] = MAMBA,
        norm: NormName = "group",
        convolutions: ConvolutionName = "separable",
        scan_from_level: int = 0,
        stem_stride: int = 1,
        deep_supervision: bool = False,
        pad: bool = False,
    ) -> None:
        super().__init__()
        _check_levels(blocks_down, blocks_up, scan_from_level, stem_stride)
        self.deep_supervision, self.pad, self.stem_stride = deep_supervision, pad, stem_stride
        self.divisors = (stem_stride * 2 ** len(blocks_up),) * spatial_dims
        widths = [init_filters * 2**level for level in range(len(blocks_down))]
        make = MapConv if convolutions == "full" else SeparableConv
        self.stem = make(spatial_dims, in_channels, init_filters, stride=stem_stride)
        self.dropout = nn.Dropout(dropout)

        def encoder_block(level: int) -> nn.Module:
            if level < scan_from_level:
                return ConvBlock(widths[level], spatial_dims, norm)
            return RvmBlock(widths[level], spatial_dims, mixer, norm)

        def down_step(level: int) -> nn.Module:
            if level - 1 < scan_from_level:  # it works on the finer level's grid
                return MapConv(spatial_dims, widths[level - 1], widths[level], stride=2)
            return DownByScan(widths[level - 1], widths[level], spatial_dims, mixer)

        def decoder_block(level: int) -> nn.Module:
            kind = ConvBlock if convolutions == "full" else SeparableUpBlock
            return kind(widths[level], spatial_dims, norm)

        self.downs = nn.ModuleList(down_step(level) for level in range(1, len(widths)))
        self.levels = nn.ModuleList(
            nn.ModuleList(encoder_block(level) for _ in range(count))
            for level, count in enumerate(blocks_down)
        )
        coarse_to_fine = range(len(blocks_up) - 1, -1, -1)
        self.ups = nn.ModuleList(
            UpStep(widths[level], [decoder_block(level) for _ in range(count)])
            for level, count in zip(coarse_to_fine, blocks_up, strict=True)
        )
        self.head = Head(init_filters, out_channels, norm, convolutions)
        watched = list(coarse_to_fine)[:-1] if deep_supervision else []
        self.deep_heads = nn.ModuleList(
            Head(widths[level], out_channels, norm, convolutions) for level in watched
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment; a list of logits, finest first, while training with deep supervision."""
        size = x.shape[2:]
        x = pad_to_multiple(x, self.divisors) if self.pad else check_sizes(x, self.divisors)
        skips = self._encode(x.movedim(1, -1))
        maps = self._decode(skips)
        logits = self.head(maps[-1]).movedim(-1, 1)
        if self.stem_stride > 1:
            logits = upsample(logits, self.stem_stride)
        if not (self.training and self.deep_supervision):
            return crop(logits, size)
        deep = [
            head(each).movedim(-1, 1) for head, each in zip(self.deep_heads, maps[:-1], strict=True)
        ]
        return [crop(logits, size), *reversed(deep)]

    def _encode(self, x: Tensor) -> list[Tensor]:
        """Maps of all levels, finest first."""
        x = self.dropout(self.stem(x))
        maps: list[Tensor] = []
        for level, blocks in enumerate(self.levels):
            if level:
                x = self.downs[level - 1](x)
            for block in cast("nn.ModuleList", blocks):
                x = block(x)
            maps.append(x)
        return maps

    def _decode(self, skips: list[Tensor]) -> list[Tensor]:
        """Decoder maps, coarsest first."""
        maps = [skips[-1]]
        for up, skip in zip(self.ups, reversed(skips[:-1]), strict=True):
            maps.append(up(maps[-1], skip))
        return maps[1:]


def _check_levels(
    blocks_down: Sequence[int], blocks_up: Sequence[int], scan_from_level: int, stem_stride: int
) -> None:
    if len(blocks_up) != len(blocks_down) - 1:
        raise BadArgumentError(
            f"blocks_up needs one entry fewer than blocks_down; "
            f"found {list(blocks_up)} for {list(blocks_down)}"
        )
    if not 0 <= scan_from_level <= len(blocks_down):
        raise BadArgumentError(
            f"scan_from_level must lie in 0..{len(blocks_down)}, found {scan_from_level}"
        )
    if stem_stride not in (1, 2):
        raise BadArgumentError(f"stem_stride must be 1 or 2, found {stem_stride}")
