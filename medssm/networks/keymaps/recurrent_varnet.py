"""DIRECT's keys of the recurrent variational network and of its sensitivity U-Net."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.networks.keymaps.rules import KeyMap, Rule

GATES = ("reset", "update", "out")
SENSITIVITY = "sensitivity_model."
"""What goes before the keys of the second network where both are in one mapping."""


def _under(rules: tuple[Rule, ...], official: str, ours: str) -> tuple[Rule, ...]:
    return tuple(Rule(official + rule.official, ours + rule.ours) for rule in rules)


UNIT = (
    *(Rule(f"{gate}_gates.{{i}}.{{j}}.{{tail}}", f"gates.{{i}}.{gate}.{{j}}.{{tail}}")
      for gate in GATES),
    Rule("conv_blocks.{i}.{j}.{tail}", "convs.{i}.{j}.{tail}"),
)  # fmt: skip
UNIT_OR_NORMALISED = (*_under(UNIT, "convgru.", "unit."), *UNIT)
BLOCK = (
    Rule("learning_rate", "step_size"),
    *_under(UNIT_OR_NORMALISED, "regularizer.", "unit."),
)
INITIALIZER = (
    Rule("conv_blocks.{j}.1.{tail}", "convs.{j}.1.{tail}"),
    Rule("out_blocks.{j}.0.{tail}", "heads.{j}.{tail}"),
)
DOUBLE = (
    Rule("layers.0.{tail}", "first.{tail}"),
    Rule("layers.4.{tail}", "second.{tail}"),
)
UNET = (
    *_under(DOUBLE, "down_sample_layers.{i}.", "down.{i}."),
    *_under(DOUBLE, "conv.", "bottom."),
    Rule("up_transpose_conv.{i}.layers.0.{tail}", "grow.{i}.{tail}"),
    *_under(DOUBLE, "up_conv.{i}.", "up.{i}."),
    *_under(DOUBLE, "up_conv.{i}.0.", "last.{i}.block."),
    Rule("up_conv.{i}.1.{tail}", "last.{i}.head.{tail}"),
)


NETWORK = (
    *_under(BLOCK, "block_list.{t}.", "blocks.{t}."),
    *_under(INITIALIZER, "initializer.", "initializer."),
    *_under(UNET, SENSITIVITY, "refinement."),
)


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `RecurrentVarNet` that an official state dict tells.

    What leaves no trace in shapes keeps our defaults: the place of the origin (`centred`), what
    the initialiser sees, its dilations, and how often a shared block is used.

    Raises:
        BadDataError: These are no such weights.
    """
    if "block_list.0.learning_rate" not in state:
        raise BadDataError(
            "these are no RecurrentVarNet weights: block_list.0.learning_rate is missing; "
            f"found keys such as {', '.join(list(state)[:4])}"
        )
    prefix = "block_list.0.regularizer."
    normalised = any(key.startswith(f"{prefix}convgru.") for key in state)
    unit = unit_arguments(state, f"{prefix}convgru." if normalised else prefix)
    hidden, layers = unit.pop("hidden_channels"), unit.pop("num_layers")
    plain = {"in_channels": 2, "out_channels": 2, "gru_kernel": 1, "dense": 0}
    special = {key: value for key, value in unit.items() if plain.get(key, value) != value}
    special |= {k: unit[k] for k, usual in (("normalise", False), ("replicate", True))
                if unit[k] != usual}  # fmt: skip
    return {
        "num_steps": 1 + max(_numbers(state, r"block_list\.(\d+)\.learning_rate")),
        "hidden_channels": hidden,
        "num_layers": layers,
        "unit": {"name": "convgru", **special},
        "normalised": normalised,
        **_initializer_arguments(state),
        **_refinement_arguments(state),
    }


def unit_arguments(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """The arguments of `ConvGRU` that an official state dict tells."""
    found = _numbers(state, re.escape(prefix) + r"conv_blocks\.(\d+)\.[01]\.weight")
    layers = max(found)
    replicate = f"{prefix}conv_blocks.0.1.weight" in state
    place = 1 if replicate else 0
    first, last = (state[f"{prefix}conv_blocks.{i}.{place}.weight"] for i in (0, layers))
    normed = f"{prefix}reset_gates.0.1.weight" in state
    hidden = first.shape[0]
    return {
        "in_channels": first.shape[1],
        "hidden_channels": hidden,
        "out_channels": last.shape[0],
        "num_layers": layers,
        "gru_kernel": state[f"{prefix}reset_gates.0.{1 if normed else 0}.weight"].shape[-1],
        "normalise": normed,
        "dense": last.shape[1] // hidden - 1,
        "replicate": replicate,
    }


def initializer_arguments(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """The arguments of `StateInitializer` that an official state dict tells."""
    numbers = _numbers(state, re.escape(prefix) + r"conv_blocks\.(\d+)\.1\.weight")
    channels = [state[f"{prefix}conv_blocks.{i}.1.weight"].shape[0] for i in sorted(numbers)]
    seen = state[f"{prefix}out_blocks.0.0.weight"].shape[1]
    depths = [m for m in range(1, len(channels) + 1) if sum(channels[-m:]) == seen]
    if not depths:
        raise BadDataError(f"{prefix}out_blocks.0.0.weight reads {seen} of {channels} channels")
    return {"channels": channels, "multiscale": depths[0]}


def _initializer_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    if not any(key.startswith("initializer.") for key in state):
        return {"initializer": "none"}
    told = initializer_arguments(state, "initializer.")
    count = len(told["channels"])
    # the published four; for another number the dilation doubles with every later layer
    dilations = [1, 1, 2, 4] if count == 4 else [1] + [2**i for i in range(count - 1)]
    return {
        "initializer": "sense",
        "initializer_channels": told["channels"],
        "initializer_dilations": dilations,
        "multiscale": told["multiscale"],
    }


def unet_arguments(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """The arguments of `MapUNet` that an official state dict tells."""
    first = state[f"{prefix}down_sample_layers.0.layers.0.weight"]
    levels = _numbers(state, re.escape(prefix) + r"down_sample_layers\.(\d+)\.layers\.0\.weight")
    pools = 1 + max(levels)
    head = state[f"{prefix}up_conv.{pools - 1}.1.weight"]
    return {
        "in_channels": first.shape[1],
        "out_channels": head.shape[0],
        "filters": first.shape[0],
        "pools": pools,
    }


def _refinement_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    if not any(key.startswith(SENSITIVITY) for key in state):
        return {}
    told = unet_arguments(state, SENSITIVITY)
    return {
        "refinement": True,
        "refinement_filters": told["filters"],
        "refinement_pools": told["pools"],
    }


def _numbers(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    found = [re.fullmatch(pattern, key) for key in state]
    numbers = [int(each[1]) for each in found if each is not None]
    if not numbers:
        raise KeyError(pattern.replace("\\", ""))
    return numbers


def _alone(state: Mapping[str, Tensor]) -> dict[str, Any]:
    del state
    return {}


KEYMAP = KeyMap(layouts=(NETWORK,), infer=infer)
UNIT_ALONE = KeyMap(layouts=(UNIT_OR_NORMALISED,), infer=unit_arguments)
BLOCK_ALONE = KeyMap(layouts=(BLOCK,), infer=_alone)
INITIALIZER_ALONE = KeyMap(layouts=(INITIALIZER,), infer=initializer_arguments)
UNET_ALONE = KeyMap(layouts=((*_under(UNET, "unet2d.", "unet."), *UNET),), infer=unet_arguments)
