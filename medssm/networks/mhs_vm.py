"""MHS-VM: VM-UNet's skeleton whose blocks scan along routes of several heads."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from medssm.networks.vm_unet import OutputName, VMUNet

MULTI_HEAD_SCAN: Mapping[str, Any] = MappingProxyType({"name": "multi_head_scan"})


def mhs_vm(
    spatial_dims: int = 2,
    in_channels: int = 3,
    out_channels: int = 2,
    width: int = 96,
    depths: Sequence[int] = (2, 2, 2, 2),
    decoder_depths: Sequence[int] = (2, 2, 2, 1),
    patch: int = 4,
    drop_path: float = 0.2,
    mixer: Mapping[str, Any] = MULTI_HEAD_SCAN,
    output: OutputName = "logits",
    grey_as_rgb: bool = True,
    finest_skip: bool = False,
    deep_supervision: bool = False,
    pad: bool = False,
) -> VMUNet:
    """MHS-VM with the official arithmetic by default, and its repairs as options.

    A block is x + DropPath(LN(MHS(silu(conv(v)))) * silu(z)) with [v, z] = W LN(x): the inner
    width is not doubled and no projection follows, which saves a third of VM-UNet's weights.
    Routes are made for any size when they are asked for; the authors ship a file for 256x256.

    Args:
        spatial_dims: 2 as published, or 3.
        in_channels: Channels of the image.
        out_channels: Logits.
        width: Width of the finest level; doubles at each deeper one.
        depths: Blocks of each encoder stage, finest first.
        decoder_depths: Blocks of each decoder stage, coarsest first.
        patch: Edge of the patches, in pixels.
        drop_path: Most frequent dropped path; rises from 0 in the encoder, falls to 0 after.
        mixer: What mixes tokens (`MIXERS`); ``{"name": "multi_head_scan", "heads": 3}`` is the
            smaller published one.
        output: "probabilities" gives sigmoid, as the authors' network for one class does.
        grey_as_rgb: Repeat an image of one channel to three, as published.
        finest_skip: Also add the patch embedding to the last decoder map.
        deep_supervision: While training, return logits of the inner decoder stages too.
        pad: Pad odd sizes with zeros and crop the logits, instead of refusing them.

    Shape:
        x: (B, C, *S), result (B, K, *S).

    Raises:
        BadArgumentError: Arguments that do not go together.

    Source:
        Ji, "MHS-VM", 2024; PixDeep/MHS-VM, commit be64b6f.
    """
    return VMUNet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=out_channels,
        width=width,
        depths=depths,
        decoder_depths=decoder_depths,
        patch=patch,
        drop_path=drop_path,
        mixer=mixer,
        output=output,
        grey_as_rgb=grey_as_rgb,
        finest_skip=finest_skip,
        deep_supervision=deep_supervision,
        pad=pad,
    )
