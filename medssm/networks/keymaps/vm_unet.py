"""VM-UNet's official keys, and what they tell of its shape."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.networks.keymaps.rules import KeyMap, Rule
from medssm.networks.keymaps.vmamba import (
    CROSS_SCAN,
    beneath,
    count_blocks,
    cross_scan_arguments,
)

SKELETON = (
    Rule("vmunet.patch_embed.proj.{tail}", "embed.proj.conv.{tail}"),
    Rule("vmunet.patch_embed.norm.{tail}", "embed.norm.{tail}"),
    Rule("vmunet.layers.{i}.blocks.{j}.ln_1.{tail}", "encoder.{i}.blocks.{j}.norm.{tail}"),
    Rule("vmunet.layers.{i}.downsample.{tail}", "encoder.{i}.merging.{tail}"),
    Rule("vmunet.layers_up.{i}.blocks.{j}.ln_1.{tail}", "decoder.{i}.blocks.{j}.norm.{tail}"),
    Rule("vmunet.layers_up.{i}.upsample.{tail}", "decoder.{i}.expanding.{tail}"),
    Rule("vmunet.final_up.{tail}", "head.expanding.{tail}"),
    Rule("vmunet.final_conv.weight", "head.classes.weight", ones=0),
    Rule("vmunet.final_conv.bias", "head.classes.bias"),
)
"""All but the mixers: MHS-VM has the same."""
ATTENTION = "vmunet.layers.{i}.blocks.{j}.self_attention."
ATTENTION_UP = "vmunet.layers_up.{i}.blocks.{j}.self_attention."


def u_shape(mixer: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules of the whole network around the rules of its mixer."""
    return (
        *SKELETON,
        *beneath(mixer, ATTENTION, "encoder.{i}.blocks.{j}.mixer."),
        *beneath(mixer, ATTENTION_UP, "decoder.{i}.blocks.{j}.mixer."),
    )


def skeleton_arguments(state: Mapping[str, Tensor], network: str) -> dict[str, Any]:
    """The arguments that do not belong to the mixer.

    One class means probabilities: the authors' wrapper applies the sigmoid itself.

    Raises:
        BadDataError: A key that every such network has is missing.
    """
    needed = ("patch_embed.proj.weight", "final_up.expand.weight", "final_conv.weight")
    for key in (f"vmunet.{each}" for each in needed):
        if key not in state:
            raise BadDataError(
                f"these are no {network} weights: {key} is missing; "
                f"found keys such as {', '.join(list(state)[:4])}"
            )
    stem = state["vmunet.patch_embed.proj.weight"]
    classes = state["vmunet.final_conv.weight"].shape[0]
    return {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "out_channels": classes,
        "width": stem.shape[0],
        "patch": stem.shape[2],
        "depths": count_blocks(state, r"vmunet\.layers\.(\d+)\.blocks\.(\d+)\.ln_1\.weight"),
        "decoder_depths": count_blocks(
            state, r"vmunet\.layers_up\.(\d+)\.blocks\.(\d+)\.ln_1\.weight"
        ),
        "grey_as_rgb": stem.shape[1] != 1,
        "output": "probabilities" if classes == 1 else "logits",
    }


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `VMUNet` that an official state dict was made with.

    Raises:
        BadDataError: These are no such weights.
    """
    arguments = skeleton_arguments(state, "VM-UNet")
    mixer = cross_scan_arguments(state, "vmunet.layers.0.blocks.0.self_attention.")
    return {**arguments, "mixer": {"name": "cross_scan", **mixer}}


KEYMAP = KeyMap(layouts=(u_shape(CROSS_SCAN),), infer=infer)
