"""HyMamba's official keys, dense or of the released encoder, and what they tell of its shape."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.layers.positions import sine_positions
from medssm.networks.keymaps.pretrained import PretrainedEncoder
from medssm.networks.keymaps.rules import KeyMap, Rule
from medssm.networks.keymaps.vmamba import beneath

RESIDUAL = (Rule("conv3.weight", "project.weight", ones=0), Rule("conv3.bias", "project.bias"))
NORMS = tuple(Rule(f"norm{i}.{{tail}}", f"norm{i}.{{tail}}") for i in (1, 2, 3))
CONVS = tuple(Rule(f"conv{i}.{{tail}}", f"conv{i}.conv.{{tail}}") for i in (1, 2))
MIXER = Rule("mae.blocks.{i}.mamba.{tail}", "mamba.layers.{i}.mixer.{tail}")
ENCODER = (
    Rule("embeddings.stem.{tail}", "stem.conv.{tail}"),
    Rule("embeddings.expend{i+1}.{tail}", "widen.{i}.conv.{tail}"),
    Rule("embeddings.layer{i+2}.{j}.conv1.{tail}", "stages.{i}.{j}.depthwise.conv.{tail}"),
    Rule("embeddings.layer{i+2}.{j}.norm.{tail}", "stages.{i}.{j}.norm.{tail}"),
    *(
        rule
        for official, ours in (("conv2", "fc1"), ("conv3", "fc2"))
        for rule in (
            Rule(
                f"embeddings.layer{{i+2}}.{{j}}.{official}.weight",
                f"stages.{{i}}.{{j}}.{ours}.weight",
                ones=0,
            ),
            Rule(
                f"embeddings.layer{{i+2}}.{{j}}.{official}.bias",
                f"stages.{{i}}.{{j}}.{ours}.bias",
            ),
        )
    ),
    *beneath((*CONVS, *NORMS), "embeddings.encoder{i+1}.", "skips.{i}."),
    Rule("mae.pos_embed", "mamba.positions", row=0),
    Rule("mae.blocks.{i}.norm1.{tail}", "mamba.layers.{i}.norm.{tail}"),
    Rule("mae.blocks.{i}.norm2.{tail}", "mamba.layers.{i}.norm2.{tail}"),
    Rule("mae.blocks.{i}.mlp.{tail}", "mamba.layers.{i}.feed_forward.{tail}"),
    MIXER,
)
"""The encoder's keys; ours begin with ``encoder.``."""
_MODULES_B = ("conv1d", "x_proj", "dt_proj")
_OLD = "a parameter of the backward direction, which the authors never use"
SPARE = {
    "{head}mae.pos_embed": "positions are made anew for every grid",
    "{head}mae.mask_token": "stands at hidden tokens, which only pre-training has",
    **{
        f"{{head}}mae.blocks.{{i}}.mamba.{name}": _OLD
        for name in ("A_b_log", "D_b", *(f"{each}_b.{{tail}}" for each in _MODULES_B))
    },
}


def decoder_rules(levels: int) -> tuple[Rule, ...]:
    """The rules of a decoder of so many blocks: the authors' last number comes first."""
    block = (
        Rule("transp_conv.conv.{tail}", "up.conv.{tail}"),
        Rule("conv_block.conv1.conv.{tail}", "block.conv1.conv.{tail}"),
        Rule("conv_block.conv2.conv.{tail}", "block.conv2.conv.{tail}"),
        Rule("conv_block.conv3.conv.weight", "block.project.weight", ones=0),
    )
    return (
        *(
            rule
            for index in range(levels)
            for rule in beneath(block, f"decoder.decoder{levels + 1 - index}.", f"decoder.{index}.")
        ),
        *beneath((*CONVS, *RESIDUAL, *NORMS), "decoder.decoder1.", "refine."),
        Rule("decoder.out.conv.weight", "head.weight", ones=0),
        Rule("decoder.out.conv.bias", "head.bias"),
    )


def dense(encoder_prefix: str, levels: int) -> tuple[Rule, ...]:
    """Encoder and segmentation decoder."""
    return (*beneath(ENCODER, encoder_prefix, "encoder."), *decoder_rules(levels))


def encoder_prefix(state: Mapping[str, Tensor]) -> str:
    """What stands before ``embeddings.`` in a state dict.

    Raises:
        BadDataError: Nothing of this network is in it.
    """
    end = "embeddings.stem.weight"
    found = [key for key in state if key.endswith(end)]
    if not found:
        raise BadDataError(
            f"these are no weights of MambaMIM's encoder: {end} is missing; found keys such as "
            f"{', '.join(list(state)[:4])}"
        )
    return found[0].removesuffix(end)


def encoder_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments that the shapes of an encoder's weights tell, rank and channels left out."""
    prefix = encoder_prefix(state)
    at = f"{prefix}embeddings."
    levels = sum(key.startswith(f"{at}expend") and key.endswith("weight") for key in state)
    widths = [state[f"{at}expend{i + 1}.weight"].shape[0] for i in range(levels)]
    first = [state[f"{at}layer{i + 2}.0.conv1.weight"] for i in range(levels)]
    inner = [state[f"{at}layer{i + 2}.0.conv2.weight"].shape[0] for i in range(levels)]
    arguments: dict[str, Any] = {
        "stem_width": state[f"{at}stem.weight"].shape[0],
        "widths": widths,
        "depths": [_count(state, f"{at}layer{i + 2}.", ".conv1.weight") for i in range(levels)],
        "expansions": [wide // width for wide, width in zip(inner, widths, strict=True)],
        "kernels": [each.shape[-1] for each in first],
        "layers": _count(state, f"{prefix}mae.blocks.", ".mamba.A_log"),
    }
    mixer = _mixer_arguments(state, f"{prefix}mae.blocks.0.mamba.", widths[-1])
    if mixer:
        arguments["mixer"] = mixer
    grid = stored_grid(state.get(f"{prefix}mae.pos_embed"), first[0].ndim - 2)
    return arguments if grid is None else {**arguments, "stored_grid": grid}


def stored_grid(table: Tensor | None, rank: int) -> list[int] | None:
    """The grid of a table of positions that must be kept, since it is not the one we would make."""
    if table is None:
        return None
    length, width = table.shape[-2:]
    edge = round(length ** (1 / rank))
    if edge**rank != length:
        return None
    ours = sine_positions((edge,) * rank, width).reshape(length, width)
    return None if torch.allclose(table.float().view_as(ours), ours, atol=1e-4) else [edge] * rank


def _count(state: Mapping[str, Tensor], start: str, end: str) -> int:
    return sum(key.startswith(start) and key.endswith(end) for key in state)


def _mixer_arguments(state: Mapping[str, Tensor], start: str, width: int) -> dict[str, Any]:
    """What differs from the mixer's defaults."""
    inner, states = state[f"{start}A_log"].shape
    found = {
        "state": (states, 16),
        "conv_width": (state[f"{start}conv1d.weight"].shape[-1], 4),
        "expand": (inner // width, 2),
        "dt_rank": (state[f"{start}dt_proj.weight"].shape[1], math.ceil(width / 16)),
    }
    return {name: value for name, (value, default) in found.items() if value != default}


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a `HybridMamba` that official weights belong to."""
    stem = state[f"{encoder_prefix(state)}embeddings.stem.weight"]
    arguments = {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        **encoder_arguments(state),
    }
    head = state.get("decoder.out.conv.weight")
    return arguments if head is None else {**arguments, "out_channels": head.shape[0]}


PREFIXES = ("", "sparse_encoder.", "encoder.")
MOST_LEVELS = 6
KEYMAP = KeyMap(
    layouts=tuple(dense("", levels) for levels in (4, *range(2, 4), 5, MOST_LEVELS)),
    infer=infer,
    spare=SPARE,
)
PRETRAINED = PretrainedEncoder(
    recognises=lambda state: (
        any(key.endswith("embeddings.stem.weight") for key in state)
        and "decoder.out.conv.weight" not in state
    ),
    encoder=KeyMap(
        layouts=tuple(beneath(ENCODER, prefix, "encoder.") for prefix in PREFIXES),
        infer=infer,
        beside=dict.fromkeys(
            ("dense_decoder.", "densify_projs.", "mask_tokens.", "A_interpolation"),
            "belongs to pre-training alone",
        ),
        spare=SPARE,
    ),
    fresh=("decoder.", "refine.", "head."),
    why_fresh="the encoder alone was pre-trained",
)
