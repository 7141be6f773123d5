"""VM-UNet: a U-shaped network of VMamba blocks, in 2D as published and in 3D."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.blocks import MixerBlock, by_stage, rising_rates
from medssm.layers.linear import TokenLinear
from medssm.layers.patches import PatchEmbed, PatchExpanding, PatchMerging
from medssm.networks.sizes import check_sizes, crop, pad_to_multiple

OutputName = Literal["logits", "probabilities"]
CROSS_SCAN: Mapping[str, Any] = MappingProxyType({"name": "cross_scan"})


class EncoderStage(nn.Module):
    """Blocks, then, but for the last stage, patch merging.

    Shape:
        x: (B, *S, C), result (B, *S / 2, 2C), or as x at the last stage.
    """

    def __init__(self, blocks: Sequence[nn.Module], merging: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.merging = merging

    def forward(self, x: Tensor) -> Tensor:
        """Mix, then halve the grid."""
        x = self.blocks(x)
        return x if self.merging is None else self.merging(x)


class DecoderStage(nn.Module):
    """Patch expanding, but for the deepest stage, then blocks.

    Shape:
        x: (B, *S, 2C), result (B, *2S, C), or as x at the deepest stage.
    """

    def __init__(self, blocks: Sequence[nn.Module], expanding: nn.Module | None) -> None:
        super().__init__()
        self.expanding = expanding
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Double the grid, then mix."""
        return self.blocks(x if self.expanding is None else self.expanding(x))


class Head(nn.Module):
    """From tokens to the classes of every pixel: expanding by the patch size, then linear.

    Shape:
        x: (B, *S, C), result (B, *S patch, K).
    """

    def __init__(self, spatial_dims: int, channels: int, classes: int, patch: int) -> None:
        super().__init__()
        self.expanding = PatchExpanding(spatial_dims, channels, channels // 4, patch)
        self.classes = TokenLinear(channels // 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Expand and classify."""
        return self.classes(self.expanding(x))


class VMUNet(nn.Module):
    """VM-UNet with the official arithmetic by default, and its repairs as options.

    Args:
        spatial_dims: 2 as published, or 3.
        in_channels: Channels of the image.
        out_channels: Logits.
        width: Width of the finest level; doubles at each deeper one.
        depths: Blocks of each encoder stage, finest first.
        decoder_depths: Blocks of each decoder stage, coarsest first.
        patch: Edge of the patches, in pixels.
        drop_path: Most frequent dropped path; rises from 0 in the encoder, falls to 0 after.
        mixer: What mixes tokens (`MIXERS`); ``{"name": "convolution"}`` is the twin without
            state space.
        output: "probabilities" gives sigmoid, as the authors' network for one class does.
        grey_as_rgb: Repeat an image of one channel to three, as published, so that weights of
            colour images fit.
        finest_skip: Also add the patch embedding to the last decoder map, which the authors
            leave unused.
        deep_supervision: While training, return logits of the inner decoder stages too.
        pad: Pad odd sizes with zeros and crop the logits, instead of refusing them.

    Shape:
        x: (B, C, *S), result (B, K, *S).

    Raises:
        BadArgumentError: Arguments that do not go together.

    Source:
        Ruan and Xiang, "VM-UNet", 2024; JCruan519/VM-UNet, commit 43c495b.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        out_channels: int = 2,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        decoder_depths: Sequence[int] = (2, 2, 2, 1),
        patch: int = 4,
        drop_path: float = 0.2,
        mixer: Mapping[str, Any] = CROSS_SCAN,
        output: OutputName = "logits",
        grey_as_rgb: bool = True,
        finest_skip: bool = False,
        deep_supervision: bool = False,
        pad: bool = False,
    ) -> None:
        super().__init__()
        _check(width, depths, decoder_depths)
        self.output, self.pad, self.finest_skip = output, pad, finest_skip
        self.deep_supervision = deep_supervision
        self.stem_channels = 3 if in_channels == 1 and grey_as_rgb else in_channels
        self.divisors = (patch * 2 ** (len(depths) - 1),) * spatial_dims
        widths = [width * 2**level for level in range(len(depths))]
        deepest = len(depths) - 1

        def blocks(level: int, rates: Sequence[float]) -> list[nn.Module]:
            return [
                MixerBlock(widths[level], spatial_dims, mixer, rate, layer=layer)
                for layer, rate in enumerate(rates)
            ]

        def encoder_stage(level: int, rates: Sequence[float]) -> EncoderStage:
            merging = PatchMerging(spatial_dims, widths[level]) if level < deepest else None
            return EncoderStage(blocks(level, rates), merging)

        def decoder_stage(level: int, rates: Sequence[float]) -> DecoderStage:
            expanding = None
            if level < deepest:
                expanding = PatchExpanding(spatial_dims, widths[level + 1], widths[level])
            return DecoderStage(blocks(level, rates), expanding)

        self.embed = PatchEmbed(spatial_dims, self.stem_channels, width, patch)
        rising = by_stage(rising_rates(drop_path, sum(depths)), depths)
        falling = by_stage(rising_rates(drop_path, sum(decoder_depths))[::-1], decoder_depths)
        self.encoder = nn.ModuleList(
            encoder_stage(level, rates) for level, rates in enumerate(rising)
        )
        self.decoder = nn.ModuleList(
            decoder_stage(deepest - stage, rates) for stage, rates in enumerate(falling)
        )
        self.head = Head(spatial_dims, width, out_channels, patch)
        watched = range(deepest - 1, 0, -1) if deep_supervision else ()
        self.deep_heads = nn.ModuleList(
            TokenLinear(widths[level], out_channels) for level in watched
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Segment; a list of logits, finest first, while training with deep supervision."""
        size = x.shape[2:]
        x = pad_to_multiple(x, self.divisors) if self.pad else check_sizes(x, self.divisors)
        if x.shape[1] == 1 and self.stem_channels > 1:
            x = x.expand(-1, self.stem_channels, *x.shape[2:])
        maps = self._decode(self._encode(x.movedim(1, -1)))
        logits = crop(self.head(maps[-1]).movedim(-1, 1), size)
        if self.output == "probabilities":
            return logits.sigmoid()
        if not (self.training and self.deep_supervision):
            return logits
        inner = zip(self.deep_heads, maps[1:-1], strict=True)
        return [logits, *reversed([head(each).movedim(-1, 1) for head, each in inner])]

    def _encode(self, x: Tensor) -> list[Tensor]:
        """The input of every encoder stage, finest first, and the output of the last."""
        maps = [self.embed(x)]
        for stage in self.encoder:
            maps.append(stage(maps[-1]))
        return maps

    def _decode(self, maps: list[Tensor]) -> list[Tensor]:
        """Outputs of the decoder stages, coarsest first; each adds its skip before it expands."""
        *skips, x = maps
        outputs = [self.decoder[0](x)]
        for stage, skip in zip(self.decoder[1:], reversed(skips[1:]), strict=True):
            outputs.append(stage(outputs[-1] + skip))
        if self.finest_skip:
            outputs[-1] = outputs[-1] + skips[0]
        return outputs


def _check(width: int, depths: Sequence[int], decoder_depths: Sequence[int]) -> None:
    if len(depths) != len(decoder_depths) or len(depths) < 2:
        raise BadArgumentError(
            f"depths and decoder_depths need one entry a level and two levels at least; "
            f"found {list(depths)} and {list(decoder_depths)}"
        )
    if width % 4:
        raise BadArgumentError(
            f"width must be a multiple of 4, found {width}; take {-(-width // 4) * 4}"
        )
