"""LightM-UNet's official keys (released code and first upload) and what they tell of its shape."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.networks.keymaps.rules import KeyMap, Rule

LAYER = (
    Rule("skip_scale", "skip_scale"),
    Rule("norm.{tail}", "norm.{tail}"),
    Rule("mamba.{tail}", "mixer.{tail}"),
    Rule("proj.{tail}", "proj.{tail}"),
)
"""The keys of one RVM layer."""


def _layer(official: str, ours: str) -> tuple[Rule, ...]:
    return tuple(Rule(official + rule.official, ours + rule.ours) for rule in LAYER)


SHARED = (
    *_layer("down_layers.{i}.0.0.", "downs.{i-1}.layer."),
    Rule("down_layers.{i}.{j}.norm1.{tail}", "levels.{i}.{j-1}.norm1.{tail}"),
    Rule("down_layers.{i}.{j}.norm2.{tail}", "levels.{i}.{j-1}.norm2.{tail}"),
    *_layer("down_layers.{i}.{j}.conv1.", "levels.{i}.{j-1}.layer1."),
    *_layer("down_layers.{i}.{j}.conv2.", "levels.{i}.{j-1}.layer2."),
    Rule("up_samples.{i}.0.conv.weight", "ups.{i}.reduce.weight", ones=0),
    Rule("up_layers.{i}.{j}.norm1.{tail}", "ups.{i}.blocks.{j}.norm1.{tail}"),
    Rule("up_layers.{i}.{j}.norm2.{tail}", "ups.{i}.blocks.{j}.norm2.{tail}"),
    Rule("conv_final.0.{tail}", "head.norm.{tail}"),
)
RELEASED = (
    *SHARED,
    Rule("convInit.0.conv.weight", "stem.depthwise.conv.weight"),
    Rule("convInit.1.conv.weight", "stem.pointwise.weight", ones=0),
    Rule("up_layers.{i}.{j}.skip_scale", "ups.{i}.blocks.{j}.skip_scale"),
    Rule("up_layers.{i}.{j}.conv.0.{tail}", "ups.{i}.blocks.{j}.conv.depthwise.{tail}"),
    Rule(
        "up_layers.{i}.{j}.conv.1.conv.weight",
        "ups.{i}.blocks.{j}.conv.pointwise.weight",
        ones=0,
    ),
    Rule("conv_final.2.0.conv.weight", "head.scale", ones=1),
    Rule("conv_final.2.0.conv.bias", "head.shift"),
    Rule("conv_final.2.1.conv.weight", "head.classes.weight", ones=0),
    Rule("conv_final.2.1.conv.bias", "head.classes.bias"),
)
FIRST_UPLOAD = (
    *SHARED,
    Rule("convInit.conv.weight", "stem.conv.weight"),
    Rule("up_layers.{i}.{j}.conv1.{tail}", "ups.{i}.blocks.{j}.conv1.{tail}"),
    Rule("up_layers.{i}.{j}.conv2.{tail}", "ups.{i}.blocks.{j}.conv2.{tail}"),
    Rule("conv_final.2.conv.weight", "head.classes.weight", ones=0),
    Rule("conv_final.2.conv.bias", "head.classes.bias"),
)


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `LightMUNet` that an official state dict was made with.

    Raises:
        BadDataError: Neither the released layout nor the first upload's.
    """
    full = "convInit.conv.weight" in state
    stem = "convInit.conv.weight" if full else "convInit.0.conv.weight"
    widening = stem if full else "convInit.1.conv.weight"
    head = "conv_final.2.conv.weight" if full else "conv_final.2.1.conv.weight"
    decay = next((key for key in state if key.endswith(".mamba.A_log")), "(any).mamba.A_log")
    for key in (stem, widening, head, decay):
        if key not in state:
            raise BadDataError(
                f"these are no LightM-UNet weights: {key} is missing; "
                f"found keys such as {', '.join(list(state)[:4])}"
            )
    layer = decay.removesuffix("mamba.A_log")
    inner, states = state[decay].shape
    return {
        "spatial_dims": state[stem].ndim - 2,
        "in_channels": state[stem].shape[1 if full else 0],
        "out_channels": state[head].shape[0],
        "init_filters": state[widening].shape[0],
        "blocks_down": _blocks(state, "down_layers"),
        "blocks_up": _blocks(state, "up_layers"),
        "convolutions": "full" if full else "separable",
        "mixer": {
            "name": "bidirectional" if f"{layer}mamba.A_b_log" in state else "mamba",
            "state": states,
            "conv_width": state[f"{layer}mamba.conv1d.weight"].shape[-1],
            "expand": inner // state[f"{layer}norm.weight"].shape[0],
        },
    }


def _blocks(state: Mapping[str, Tensor], part: str) -> list[int]:
    """Number of blocks of each level."""
    pattern = re.compile(rf"{part}\.(\d+)\.\d+\.norm1\.weight")
    levels = [int(match[1]) for key in state if (match := pattern.fullmatch(key))]
    return [levels.count(level) for level in range(max(levels, default=-1) + 1)]


KEYMAP = KeyMap(layouts=(RELEASED, FIRST_UPLOAD), infer=infer)
RVM_LAYER = KeyMap(layouts=(LAYER,), infer=lambda _: {})
"""One RVM layer alone, as `RvmLayer` holds it."""
