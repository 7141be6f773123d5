"""MSVM-UNet's official keys, and what they tell of its shape."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.layers.mixers.multi_scale_scan import LEAN
from medssm.networks.keymaps.pretrained import CLASSIFIER, PretrainedEncoder, is_vmamba
from medssm.networks.keymaps.rules import KeyMap, Rule
from medssm.networks.keymaps.vmamba import (
    CROSS_SCAN,
    beneath,
    count_blocks,
    cross_scan_arguments,
)

BLOCK = (
    Rule("norm.{tail}", "norm.{tail}"),
    *beneath(CROSS_SCAN, "op.", "mixer."),
    Rule("norm2.{tail}", "norm2.{tail}"),
    Rule("mlp.multiscale_conv.dw_convs.{k}.weight", "feed_forward.convs.{k}.conv.weight"),
    Rule("mlp.{tail}", "feed_forward.{tail}"),
)
"""One block with a feed-forward part, plain or multi-scale."""
BLOCKS = beneath(BLOCK, "blocks.{j}.", "{j}.")
ENCODER = (
    Rule("layer0.0.{tail}", "stem.conv1.conv.{tail}"),
    Rule("layer0.2.{tail}", "stem.norm1.{tail}"),
    Rule("layer1.0.{tail}", "stem.conv2.conv.{tail}"),
    Rule("layer1.2.{tail}", "stem.norm2.{tail}"),
    *beneath(BLOCKS, "layers.{i}.", "stages.{i}."),
    Rule("downsamples.{i}.1.{tail}", "downs.{i}.conv.conv.{tail}"),
    Rule("downsamples.{i}.3.{tail}", "downs.{i}.norm.{tail}"),
)
CLASSIFIER_ENCODER = (
    Rule("patch_embed.0.{tail}", "encoder.stem.conv1.conv.{tail}"),
    Rule("patch_embed.2.{tail}", "encoder.stem.norm1.{tail}"),
    Rule("patch_embed.5.{tail}", "encoder.stem.conv2.conv.{tail}"),
    Rule("patch_embed.7.{tail}", "encoder.stem.norm2.{tail}"),
    *beneath(BLOCKS, "layers.{i}.", "encoder.stages.{i}."),
    Rule("layers.{i}.downsample.1.{tail}", "encoder.downs.{i}.conv.conv.{tail}"),
    Rule("layers.{i}.downsample.3.{tail}", "encoder.downs.{i}.norm.{tail}"),
)
"""The same encoder as VMamba's own classifier names it."""
EXPANDING = (
    Rule("expand.0.weight", "expand.weight", ones=0),
    Rule("expand.0.bias", "expand.bias"),
    Rule("expand.1.{tail}", "batch_norm.{tail}"),
    Rule("expand.3.{tail}", "conv.conv.{tail}"),
    Rule("norm.{tail}", "norm.{tail}"),
)
HEAD = (
    *beneath(EXPANDING, "", "expanding."),
    Rule("out.weight", "classes.weight", ones=0),
    Rule("out.bias", "classes.bias"),
)
NETWORK = (
    *beneath(ENCODER, "encoder.", "encoder."),
    *beneath(EXPANDING, "decoder.layers.{i}.up.", "decoder.{i}.up."),
    Rule("decoder.layers.{i}.concat_layer.{tail}", "decoder.{i}.join.{tail}"),
    *beneath(BLOCKS, "decoder.layers.{i}.vss_layer.", "decoder.{i}.blocks."),
    *beneath(HEAD, "decoder.out_layers.0.", "head."),
)


def encoder_arguments(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """The arguments of an `Encoder` whose official tensors begin with a prefix.

    Raises:
        BadDataError: A key that every such encoder has is missing.
    """
    block = f"{prefix}layers.0.blocks.0."
    for key in (f"{prefix}layer0.0.weight", f"{prefix}layer1.0.weight", f"{block}mlp.fc1.weight"):
        if key not in state:
            raise BadDataError(
                f"these are no MSVM-UNet weights: {key} is missing; "
                f"found keys such as {', '.join(list(state)[:4])}"
            )
    hidden, width = state[f"{block}mlp.fc1.weight"].shape
    stem = state[f"{prefix}layer0.0.weight"]
    pattern = re.escape(prefix) + r"layers\.(\d+)\.blocks\.(\d+)\.norm\.weight"
    return {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "width": width,
        "depths": count_blocks(state, pattern),
        "mixer": {"name": "cross_scan", **cross_scan_arguments(state, f"{block}op.")},
        "ratio": hidden / width,
    }


def kernels(state: Mapping[str, Tensor], prefix: str) -> list[int]:
    """Edges of the depthwise windows of one multi-scale feed-forward part."""
    found = (
        state.get(f"{prefix}mlp.multiscale_conv.dw_convs.{index}.weight") for index in range(99)
    )
    return [weight.shape[-1] for weight in found if weight is not None]


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `MSVMUNet` that an official state dict was made with.

    Raises:
        BadDataError: These are no such weights.
    """
    arguments = encoder_arguments(state, "encoder.")
    head = "decoder.out_layers.0.out.weight"
    if head not in state:
        raise BadDataError(f"these are no whole MSVM-UNet weights: {head} is missing")
    decoder_mixer = cross_scan_arguments(state, "decoder.layers.0.vss_layer.blocks.0.op.")
    return {
        **arguments,
        "out_channels": state[head].shape[0],
        "decoder_depths": count_blocks(
            state, r"decoder\.layers\.(\d+)\.vss_layer\.blocks\.(\d+)\.norm\.weight"
        ),
        "kernels": kernels(state, "decoder.layers.0.vss_layer.blocks.0."),
        "decoder_mixer": {"name": "cross_scan", **decoder_mixer},
        "grey_as_rgb": arguments["in_channels"] != 1,
    }


def infer_blocks(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `multi_scale_blocks`, apart from the rates of dropped paths."""
    hidden, width = state["blocks.0.mlp.fc1.weight"].shape
    return {
        "channels": width,
        "mixer": {"name": "cross_scan", **cross_scan_arguments(state, "blocks.0.op.")},
        "ratio": hidden / width,
        "kernels": kernels(state, "blocks.0."),
    }


def infer_around(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of an `MSVMUNet` around a VMamba classifier.

    Raises:
        BadDataError: It is a VMamba of the first form.
    """
    if not any(".mlp." in key for key in state):
        raise BadDataError(
            "these are weights of VMamba's first form, whose blocks have no MLP: they fit vm_unet. "
            "msvm_unet starts from a later one, e.g. vssm1_tiny_0230s (s1l8)"
        )
    renamed = {key.replace("patch_embed.0.", "layer0.0."): each for key, each in state.items()}
    renamed = {key.replace("patch_embed.5.", "layer1.0."): each for key, each in renamed.items()}
    arguments = encoder_arguments(renamed)
    return {**arguments, "decoder_mixer": {"name": "cross_scan", **LEAN}}


KEYMAP = KeyMap(layouts=(NETWORK,), infer=infer)
PRETRAINED = PretrainedEncoder(
    recognises=is_vmamba,
    encoder=KeyMap(layouts=(CLASSIFIER_ENCODER,), infer=infer_around, beside=CLASSIFIER),
    fresh=("decoder.", "head.", "deep_heads."),
)
ENCODER_ALONE = KeyMap(layouts=(ENCODER,), infer=encoder_arguments)
BLOCKS_ALONE = KeyMap(layouts=(BLOCKS,), infer=infer_blocks)
EXPANDING_ALONE = KeyMap(layouts=(EXPANDING,), infer=lambda _: {})
HEAD_ALONE = KeyMap(layouts=(HEAD,), infer=lambda _: {})
