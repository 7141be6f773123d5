"""Encoders of our networks read through a mask: hybrid_mamba's, LightM-UNet's, VM-UNet's."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medssm.core.errors import BadArgumentError, UsageError, nearest
from medssm.core.signature import parameters_of
from medssm.layers.blocks import MixerBlock
from medssm.layers.dims import max_pool
from medssm.layers.masking import Visible, gather_tokens, scatter_tokens
from medssm.layers.norms import MapNorm
from medssm.layers.sparse import hide, mix_visible
from medssm.networks import NETWORKS
from medssm.networks.hybrid_mamba import HybridMamba
from medssm.networks.lightm_unet import ConvBlock, DownByScan, LightMUNet, RvmBlock, RvmLayer
from medssm.networks.vm_unet import EncoderStage, VMUNet


def mixed(mixer: nn.Module, x: Tensor, visible: Visible | None) -> Tensor:
    """A mixer over a map, or over its visible positions alone.

    Shape:
        x: (B, *S, C), result the same, zero at hidden positions.
    """
    if visible is None:
        return cast("Tensor", mixer(x))
    here = finer(visible, tuple(x.shape[1:-1]))
    tokens = gather_tokens(x.flatten(1, -2), here.ids)
    made = mix_visible(mixer, tokens, here)
    return scatter_tokens(made, here.ids, here.flat.shape[1]).view(x.shape)


def finer(visible: Visible, size: tuple[int, ...]) -> Visible:
    """The same visible part on a finer grid, whose positions are its cells."""
    if size == visible.grid:
        return visible
    cells = visible.at(size)[..., 0]
    ids = cells.flatten(1).nonzero()[:, 1].view(cells.shape[0], -1)
    return Visible(cells, ids)


def normed(norm: nn.Module, x: Tensor, visible: Visible | None) -> Tensor:
    """A norm of a map; group and instance norms take their statistics of visible positions alone.

    Shape:
        x: (B, *S, C), result the same.
    """
    if visible is None or not isinstance(norm, MapNorm):
        return hide(norm(x), visible)
    here = finer(visible, tuple(x.shape[1:-1]))
    tokens = norm(gather_tokens(x.flatten(1, -2), here.ids))
    return scatter_tokens(tokens, here.ids, here.flat.shape[1]).view(x.shape)


class MaskedLightM(nn.Module):
    """LightM-UNet's encoder: its stem, levels and steps down, under the network's own names.

    Args:
        network: Gives the parts; its decoder is left behind.
    """

    def __init__(self, network: LightMUNet) -> None:
        super().__init__()
        if network.stem_stride != 1:
            raise BadArgumentError("a masked lightm_unet needs stem_stride=1; leave it out")
        self.stem, self.levels, self.downs = network.stem, network.levels, network.downs
        width = network.head.norm.num_channels
        self.map_widths = tuple(width * 2**level for level in range(1, len(self.levels)))
        self.cell = network.divisors

    def forward(
        self,
        x: Tensor,
        visible: Visible | None = None,
        kept: Visible | None = None,
        finest: bool = True,
    ) -> list[Tensor]:
        """As `HybridEncoder`; `kept` plays no part, since every level scans what is visible."""
        del kept
        x = hide(self.stem(hide(x, visible)), visible)
        maps = []
        for level, blocks in enumerate(self.levels):
            if level:
                x = _light_down(self.downs[level - 1], x, visible)
            for block in cast("nn.ModuleList", blocks):
                x = _light_block(block, x, visible)
            maps.append(x)
        return maps if finest else maps[1:]


def _light_block(block: nn.Module, x: Tensor, visible: Visible | None) -> Tensor:
    if isinstance(block, RvmBlock):
        h = _light_layer(block.layer1, F.relu(normed(block.norm1, x, visible)), visible)
        h = _light_layer(block.layer2, F.relu(normed(block.norm2, h, visible)), visible)
        return h + x
    assert isinstance(block, ConvBlock)
    h = hide(block.conv1(F.relu(normed(block.norm1, x, visible))), visible)
    return hide(block.conv2(F.relu(normed(block.norm2, h, visible))), visible) + x


def _light_layer(layer: RvmLayer, x: Tensor, visible: Visible | None) -> Tensor:
    y = torch.addcmul(mixed(layer.mixer, layer.norm(x), visible), layer.skip_scale, x)
    return hide(layer.proj(layer.norm(y)), visible)


def _light_down(step: nn.Module, x: Tensor, visible: Visible | None) -> Tensor:
    if isinstance(step, DownByScan):
        return max_pool(_light_layer(step.layer, x, visible).movedim(-1, 1)).movedim(1, -1)
    return hide(step(x), visible)


class MaskedVM(nn.Module):
    """VM-UNet's encoder: its patch embedding and stages, under the network's own names.

    Args:
        network: Gives the parts; its decoder is left behind.
    """

    def __init__(self, network: VMUNet) -> None:
        super().__init__()
        self.embed, self.encoder = network.embed, network.encoder
        self.stem_channels = network.stem_channels
        width = network.embed.norm.normalized_shape[0]
        self.map_widths = tuple(width * 2**level for level in range(len(self.encoder)))
        self.cell = network.divisors

    def forward(
        self,
        x: Tensor,
        visible: Visible | None = None,
        kept: Visible | None = None,
        finest: bool = True,
    ) -> list[Tensor]:
        """As `HybridEncoder`; the finest map is that of the patches, which is always there."""
        del kept, finest
        if x.shape[-1] == 1 and self.stem_channels > 1:
            x = x.expand(*x.shape[:-1], self.stem_channels)
        x = hide(self.embed(hide(x, visible)), visible)
        maps = []
        for stage in cast("Iterable[EncoderStage]", self.encoder):
            for block in stage.blocks:
                x = _vm_block(cast("MixerBlock", block), x, visible)
            maps.append(x)
            if stage.merging is not None:
                x = hide(stage.merging(x), visible)
        return maps


def _vm_block(block: MixerBlock, x: Tensor, visible: Visible | None) -> Tensor:
    x = x + hide(block.drop_path(mixed(block.mixer, block.norm(x), visible)), visible)
    if block.feed_forward is not None and block.norm2 is not None:
        x = x + hide(block.drop_path(block.feed_forward(block.norm2(x))), visible)
    return x


def build_masked_encoder(
    encoder: Mapping[str, Any], spatial_dims: int, in_channels: int
) -> nn.Module:
    """The encoder of a network by name, as `MambaMIM` takes it.

    Args:
        encoder: ``name`` and, if wanted, arguments of that network.
        spatial_dims: Rank.
        in_channels: Channels of the image.

    Returns:
        A module of (x, visible, kept, finest) with `cell` and `map_widths`, the
        widths of the maps without the finest, finest first.

    Raises:
        UsageError: No name, or a network whose encoder cannot be masked.
    """
    name = str(encoder.get("name"))
    if name not in _MASKED:
        known = ", ".join(_MASKED)
        raise UsageError(
            f"encoder.name={name!r}: masked pre-training knows {known}; {nearest(name, _MASKED)}"
        )
    place = {"spatial_dims": spatial_dims, "in_channels": in_channels}
    own = {key: value for key, value in place.items() if key in parameters_of(NETWORKS.load(name))}
    return _MASKED[name](NETWORKS.build(**{**own, **encoder}))


def _hybrid(network: nn.Module) -> nn.Module:
    return cast("HybridMamba", network).encoder


_MASKED: Mapping[str, Any] = {
    "hybrid_mamba": _hybrid,
    "lightm_unet": MaskedLightM,
    "vm_unet": MaskedVM,
}
