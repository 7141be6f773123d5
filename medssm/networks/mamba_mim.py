"""MambaMIM: a masked encoder, TOKI for the hidden tokens, and a light decoder to the image."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError
from medssm.layers.convs import MapConv, MapUpConv
from medssm.layers.linear import TokenLinear
from medssm.layers.masking import Visible, visible_from_ids
from medssm.layers.norms import MapBatchNorm
from medssm.layers.toki import ExponentName, TokenInterpolation
from medssm.networks.masked_encoders import build_masked_encoder
from medssm.networks.sizes import check_sizes

HYBRID: Mapping[str, Any] = MappingProxyType({"name": "hybrid_mamba"})


class DoubleConv(nn.Module):
    """Twice: 3^d convolution, batch norm, ReLU.

    Shape:
        x: (B, *S, C), result (B, *S, K).
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = MapConv(spatial_dims, in_channels, out_channels, bias=True)
        self.norm1 = MapBatchNorm(out_channels)
        self.conv2 = MapConv(spatial_dims, out_channels, out_channels, bias=True)
        self.norm2 = MapBatchNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve twice."""
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class LightDecoder(nn.Module):
    """From the filled maps to the image: each scale doubles the grid and halves the width.

    Args:
        spatial_dims: Rank of the maps.
        widths: Widths of the encoder's maps that are used, coarsest first.
        width: Width at the coarsest; divides by 2 ** scales.
        out_channels: Channels of the image.
        doublings: How often the grid doubles from the coarsest map to the image.

    Shape:
        maps: (B, *F 2^i, C_i), coarsest first; result (B, *F 2^doublings, K).
    """

    def __init__(
        self, spatial_dims: int, widths: Sequence[int], width: int, out_channels: int,
        doublings: int,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % 2**doublings:
            step = 2**doublings
            raise BadArgumentError(
                f"decoder_width={width} must be a multiple of {step} for {doublings} scales; take "
                f"{-(-width // step) * step}"
            )
        inner = [width // 2**scale for scale in range(doublings + 1)]
        # the deepest map is projected cell by cell where its width is another, the others see
        # their neighbours
        self.densify = nn.ModuleList(
            MapConv(spatial_dims, each, inner[scale], kernel=3 if scale else 1, bias=True)
            if scale or each != inner[0]
            else nn.Identity()
            for scale, each in enumerate(widths)
        )
        self.fuse = nn.ModuleList(
            DoubleConv(spatial_dims, 2 * inner[scale], inner[scale])
            for scale in range(1, len(widths))
        )
        self.up = nn.ModuleList(
            MapUpConv(spatial_dims, inner[scale], inner[scale], bias=True)
            for scale in range(doublings)
        )
        self.blocks = nn.ModuleList(
            DoubleConv(spatial_dims, inner[scale], inner[scale + 1]) for scale in range(doublings)
        )
        self.head = TokenLinear(inner[-1], out_channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Reconstruct."""
        x = self.densify[0](maps[0])
        for scale, (up, block) in enumerate(zip(self.up, self.blocks, strict=True)):
            if 0 < scale < len(maps):
                dense = self.densify[scale](maps[scale])
                x = self.fuse[scale - 1](torch.cat([x, dense], dim=-1))
            x = block(up(x))
        return self.head(x)


class MambaMIM(nn.Module):
    """Masked image modelling around an encoder of ours; the mask is given with every call.

    Args:
        spatial_dims: 3 as published, or 2.
        in_channels: Channels of the image.
        encoder: Name and arguments of the network whose encoder learns: hybrid_mamba,
            lightm_unet or vm_unet.
        decoder_width: Width of the decoder at the coarsest scale.
        filler: What stands at hidden places of the deepest map: TOKI, or one learned token as at
            the other scales.
        exponent: How TOKI's exponent counts.
        toki_bound: Largest spectral norm of TOKI's matrix; None leaves it as it is.
        defects: "official" repeats two defects of the published code: TOKI's result is written
            token by token and read channel by channel, and the kept tokens are counted over the
            whole batch. The third, an unstable order of the scan, is not repeated.

    Shape:
        x: (B, C, *S) with sizes that are multiples of a cell; result the same: the normalised
        image of every cell.

    Raises:
        BadArgumentError: Arguments or sizes that do not go together.

    Source:
        Tan et al., "MambaMIM", Medical Image Analysis 103, 2025. The published network also holds
        parameters that nothing reaches (the finest skip and its projection, the first fusion, the
        outermost mask tokens); they are left out here.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        encoder: Mapping[str, Any] = HYBRID,
        decoder_width: int = 768,
        filler: Literal["toki", "learned"] = "toki",
        exponent: ExponentName = "official",
        toki_bound: float | None = 1.0,
        defects: Literal["official", "repaired"] = "repaired",
    ) -> None:
        super().__init__()
        self.spatial_dims, self.defects = spatial_dims, defects
        self.encoder = build_masked_encoder(encoder, spatial_dims, in_channels)
        self.divisors = cast("tuple[int, ...]", self.encoder.cell)
        widths = [*reversed(cast("tuple[int, ...]", self.encoder.map_widths))]
        self.hidden_token = nn.Parameter(torch.randn(1, widths[0]) * 0.02)
        self.mask_tokens = nn.ParameterList(
            nn.init.trunc_normal_(torch.empty(1, width), std=0.02) for width in widths[1:]
        )
        official = defects == "official"
        self.toki = None
        if filler == "toki":
            self.toki = TokenInterpolation(
                widths[0], exponent, None if official else toki_bound, scrambled=official
            )
        doublings = max(self.divisors).bit_length() - 1
        self.reconstruction = LightDecoder(
            spatial_dims, widths, decoder_width, in_channels, doublings
        )

    def forward(self, x: Tensor, visible: Visible | None = None) -> Tensor:
        """Reconstruct the normalised cells of an image of which only some cells are read.

        Without a mask every cell is read and nothing is filled: what the decoder makes of the
        dense encoder's maps.
        """
        x = check_sizes(x, self.divisors)
        maps = self.masked_maps(x, visible)
        if visible is not None:
            maps = self.filled(maps, visible)
        return self.reconstruction([*reversed(maps)]).movedim(-1, 1)

    def masked_maps(self, x: Tensor, visible: Visible | None, finest: bool = False) -> list[Tensor]:
        """The encoder's maps, finest first; hidden tokens of the deepest hold the hidden token.

        Shape:
            x: (B, C, *S), results (B, *S / 2^i, C_i).
        """
        if visible is None:
            return self.encoder(x.movedim(1, -1), finest=finest)
        kept = _kept_over_batch(visible) if self.defects == "official" else visible
        maps = self.encoder(x.movedim(1, -1), visible, kept, finest)
        deepest = maps[-1]
        scanned = kept.at(deepest.shape[1:-1])
        maps[-1] = torch.where(scanned, deepest, self.hidden_token[0].to(deepest.dtype))
        return maps

    def filled(self, maps: list[Tensor], visible: Visible) -> list[Tensor]:
        """The maps with hidden places filled: by learned tokens, the deepest by TOKI.

        Shape:
            maps: finest first, (B, *S_i, C_i); results the same.
        """
        *shallow, deepest = maps
        count = len(self.mask_tokens)
        made = [
            torch.where(visible.at(each.shape[1:-1]), each, token[0].to(each.dtype))
            for each, token in zip(shallow[-count:], [*self.mask_tokens][::-1], strict=True)
        ]
        if self.toki is not None:
            tokens = self.toki(deepest.flatten(1, -2), visible.flat)
            deepest = tokens.view_as(deepest)
        return [*made, deepest]

    def embeddings(self, x: Tensor) -> Tensor:
        """One vector an image: the mean of its deepest tokens, nothing hidden.

        Shape:
            x: (B, C, *S), result (B, C_deepest).
        """
        maps = self.masked_maps(check_sizes(x, self.divisors), None)
        return maps[-1].flatten(1, -2).mean(dim=1)


def _kept_over_batch(visible: Visible) -> Visible:
    """The published count: as many tokens of each sample as are visible in the whole batch.

    The visible ones come first in the scan, then hidden ones in order.
    """
    batch, keep = visible.ids.shape
    length = visible.flat.shape[1]
    order = torch.argsort(visible.flat.logical_not().to(torch.uint8), dim=1, stable=True)
    ids = order[:, : min(batch * keep, length)]
    cells = visible_from_ids(ids, visible.grid).cells
    return Visible(cells, ids)
