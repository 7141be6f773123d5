"""HyMamba: MedNeXt stages over Mamba layers, read dense or masked with the same weights."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medssm.core.errors import BadArgumentError
from medssm.layers.blocks import FeedForward, MixerBlock
from medssm.layers.convs import MapConv
from medssm.layers.dims import max_pool
from medssm.layers.linear import TokenLinear
from medssm.layers.masking import Visible, gather_tokens, scatter_tokens
from medssm.layers.positions import check_position_width, sine_positions
from medssm.layers.residual import MedNextBlock, ResidualBlock, UpBlock
from medssm.layers.sparse import hide, mix_visible
from medssm.networks.sizes import check_sizes, crop, pad_to_multiple

ScanName = Literal["forward", "bidirectional", "three_axis"]
SCANS: Mapping[ScanName, Mapping[str, Any]] = MappingProxyType(
    {
        "forward": {"name": "mamba"},
        "bidirectional": {"name": "bidirectional"},
        "three_axis": {"name": "segmamba"},
    }
)
"""What each scan of the deepest stage is in the table of mixers."""


class MambaStage(nn.Module):
    """Positions added, then layers of x + mixer(LN(x)) and x + MLP(LN(x)).

    With a mask only the kept tokens pass through the layers; the others are never scanned.

    Args:
        channels: Width of the tokens.
        spatial_dims: Rank of the grid.
        depth: Layers.
        mixer: What mixes tokens (`MIXERS`).
        stored_grid: Keep a table of positions of this grid among the weights, as released
            checkpoints do; used where the input has this grid. None makes every table anew.
    """

    def __init__(
        self,
        channels: int,
        spatial_dims: int,
        depth: int,
        mixer: Mapping[str, Any],
        stored_grid: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_position_width(channels, spatial_dims)
        self.stored_grid = None if stored_grid is None else tuple(stored_grid)
        if self.stored_grid is not None:
            table = sine_positions(self.stored_grid, channels).flatten(0, -2)
            self.register_buffer("positions", table)
        self.layers = nn.ModuleList(
            MixerBlock(
                channels,
                spatial_dims,
                mixer,
                feed_forward=FeedForward(channels, 2 * channels),
                layer=layer,
            )
            for layer in range(depth)
        )

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        """Mix the map; hidden cells of a masked one are zero in the result.

        Shape:
            x: (B, *F, C), result the same.
        """
        x = x + self._positions(x)
        if visible is None:
            for layer in self.layers:
                x = layer(x)
            return x
        tokens = gather_tokens(x.flatten(1, -2), visible.ids)
        for layer in self.layers:
            tokens = self._masked_layer(layer, tokens, visible)
        length = x[0, ..., 0].numel()
        return scatter_tokens(tokens, visible.ids, length).view_as(x)

    @staticmethod
    def _masked_layer(layer: nn.Module, tokens: Tensor, visible: Visible) -> Tensor:
        assert isinstance(layer, MixerBlock)
        assert layer.norm2 is not None
        assert layer.feed_forward is not None
        tokens = tokens + mix_visible(layer.mixer, layer.norm(tokens), visible)
        return tokens + layer.feed_forward(layer.norm2(tokens))

    def _positions(self, x: Tensor) -> Tensor:
        grid = tuple(x.shape[1:-1])
        if grid == self.stored_grid:
            table = self.get_buffer("positions").view(*grid, -1)
        else:
            table = sine_positions(grid, x.shape[-1], x.device)
        return table.to(x.dtype)


class HybridEncoder(nn.Module):
    """Convolution stages down to one token a cell, then Mamba layers over the tokens.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        stem_width: Width of the stem.
        widths: Width of each level, finest first; each level halves the grid once more, so a
            cell has an edge of 2 ** len(widths).
        depths: MedNeXt blocks before each halving's next level.
        expansions: Inner width of the blocks of each stage as a multiple of its own.
        kernels: Edge of their depthwise windows.
        layers: Mamba layers.
        mixer: What mixes tokens (`MIXERS`).
        stored_grid: As in `MambaStage`.
        recompute: Recompute the stages in the backward pass instead of keeping their maps.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        stem_width: int,
        widths: Sequence[int],
        depths: Sequence[int],
        expansions: Sequence[int],
        kernels: Sequence[int],
        layers: int,
        mixer: Mapping[str, Any],
        stored_grid: Sequence[int] | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        _check_levels(widths, depths, expansions, kernels)
        self.recompute = recompute
        # the deepest map has the width of the level above it
        self.map_widths = (*widths[1:], widths[-1])
        self.cell = (2 ** len(widths),) * spatial_dims
        self.stem = MapConv(spatial_dims, in_channels, stem_width, bias=True)
        before = (stem_width, *widths[:-1])
        self.widen = nn.ModuleList(
            MapConv(spatial_dims, narrow, wide, bias=True)
            for narrow, wide in zip(before, widths, strict=True)
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(
                MedNextBlock(spatial_dims, width, expansion, kernel) for _ in range(depth)
            )
            for width, depth, expansion, kernel in zip(
                widths, depths, expansions, kernels, strict=True
            )
        )
        self.skips = nn.ModuleList(ResidualBlock(spatial_dims, width, width) for width in widths)
        self.mamba = MambaStage(widths[-1], spatial_dims, layers, mixer, stored_grid)

    def forward(
        self,
        x: Tensor,
        visible: Visible | None = None,
        kept: Visible | None = None,
        finest: bool = True,
    ) -> list[Tensor]:
        """Maps of every level, finest first; hidden cells are zero in all of them.

        Args:
            x: The image; what is hidden is not read.
            visible: The cells to see; None sees all.
            kept: The tokens that pass through the Mamba layers, if others than the visible.
            finest: Whether the finest map is wanted; without it the list begins with the next.

        Shape:
            x: (B, *S, C), results (B, *S / 2^i, C_i).
        """
        x = hide(x, visible)
        x = hide(self.stem(x), visible)
        maps: list[Tensor] = []
        for level in range(len(self.widen)):
            x = hide(self.widen[level](x), visible)
            if level or finest:
                maps.append(self._run(self.skips[level], x, visible))
            x = max_pool(x.movedim(-1, 1)).movedim(1, -1)
            for block in cast("nn.ModuleList", self.stages[level]):
                x = self._run(block, x, visible)
        return [*maps, self.mamba(x, kept or visible)]

    def _run(self, block: nn.Module, x: Tensor, visible: Visible | None) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            return cast("Tensor", checkpoint(block, x, visible, use_reentrant=False))
        return cast("Tensor", block(x, visible))


class HybridMamba(nn.Module):
    """HyMamba with its segmentation decoder; the encoder is the one that `mamba_mim` pre-trains.

    Args:
        spatial_dims: 3 as published, or 2.
        in_channels: Channels of the image.
        out_channels: Logits.
        stem_width: Width of the stem and of the last decoder block.
        widths: Width of each level, finest first; the deepest must divide by twice the rank.
        depths: MedNeXt blocks of each stage.
        expansions: Inner width of the blocks of each stage as a multiple of its own.
        kernels: Edge of their depthwise windows; 3 everywhere where not given.
        layers: Mamba layers over the deepest tokens.
        scan: How they read the tokens: forward as released, both ways, or forwards, backwards
            and from slice to slice (SegMamba's).
        mixer: Another mixer (`MIXERS`) in its place, or arguments of the one that `scan` names.
        stored_grid: Grid of a table of positions that is kept among the weights.
        recompute: Recompute the encoder's blocks in the backward pass to save memory.
        pad: Pad odd sizes with zeros and crop the logits, instead of refusing them.

    Shape:
        x: (B, C, *S), result (B, K, *S).

    Raises:
        BadArgumentError: Arguments that do not go together.

    Source:
        Tan et al., "MambaMIM", Medical Image Analysis 103, 2025; FengheTan9/MambaMIM. 2D, other
        scans and other grids are ours.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 2,
        stem_width: int = 32,
        widths: Sequence[int] = (64, 128, 192, 384),
        depths: Sequence[int] = (2, 2, 2, 1),
        expansions: Sequence[int] = (2, 4, 4, 4),
        kernels: Sequence[int] | None = None,
        layers: int = 4,
        scan: ScanName = "forward",
        mixer: Mapping[str, Any] | None = None,
        stored_grid: Sequence[int] | None = None,
        recompute: bool = False,
        pad: bool = False,
    ) -> None:
        super().__init__()
        self.pad = pad
        self.encoder = HybridEncoder(
            spatial_dims,
            in_channels,
            stem_width,
            widths,
            depths,
            expansions,
            kernels or (3,) * len(widths),
            layers,
            {**SCANS[scan], **(mixer or {})},
            stored_grid,
            recompute,
        )
        self.divisors = self.encoder.cell
        below = (*widths[1:], widths[-1])
        self.decoder = nn.ModuleList(
            UpBlock(spatial_dims, deeper, width)
            for deeper, width in zip(reversed(below), reversed(widths), strict=True)
        )
        self.refine = ResidualBlock(spatial_dims, widths[0], stem_width)
        self.head = TokenLinear(stem_width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Segment."""
        size = x.shape[2:]
        x = pad_to_multiple(x, self.divisors) if self.pad else check_sizes(x, self.divisors)
        *skips, x = self.encoder(x.movedim(1, -1))
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = up(x, skip)
        return crop(self.head(self.refine(x)).movedim(-1, 1), size)


def _check_levels(widths: Sequence[int], *others: Sequence[int]) -> None:
    if len(widths) < 2 or any(len(each) != len(widths) for each in others):
        raise BadArgumentError(
            f"widths, depths, expansions and kernels need one entry a level and two levels at "
            f"least; found {list(widths)} and {[list(each) for each in others]}"
        )
