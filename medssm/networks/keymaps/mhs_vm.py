"""MHS-VM's official keys, the second names of shared tensors, and what they tell of its shape."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.networks.keymaps.rules import KeyMap, Rule
from medssm.networks.keymaps.vm_unet import skeleton_arguments, u_shape
from medssm.networks.keymaps.vmamba import SCAN, beneath

LETTERS = "CXSZ"
"""The heads in the order of our list."""
HEADS = (
    Rule("x_ssproj.weight", "in_proj.weight"),
    *(
        rule
        for index, letter in enumerate(LETTERS)
        for rule in beneath(SCAN, f"scanhead_{letter}.scanning.seq2seq_engine.", f"scans.{index}.")
    ),
    Rule("cat_norm.{tail}", "norm.{tail}"),
    Rule("y_proj.weight", "out_proj.weight"),
)
MIXER = (
    Rule("in_proj.{tail}", "in_proj.{tail}"),
    Rule("conv2d.{tail}", "conv.conv.{tail}"),
    *beneath(HEADS, "mhs.", "heads."),
    Rule("out_norm.{tail}", "norm.{tail}"),
)
ALIASES = (
    Rule("{head}x_ssproj_W", "{head}x_ssproj.weight"),
    Rule("{head}.mambaeng.{tail}", "{head}.scanning.seq2seq_engine.{tail}"),
)
"""Second name to the name that counts: the later one in the official order."""


def heads_arguments(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """What the tensors of one `ScanHeads` tell; the threshold leaves no trace."""
    engines = [f"{prefix}scanhead_{letter}." for letter in LETTERS]
    heads = sum(any(key.startswith(each) for key in state) for each in engines)
    inner = "scanning.seq2seq_engine."
    engine = engines[0] + (inner if f"{engines[0]}{inner}Ds" in state else "mambaeng.")
    _, width, rank = state[f"{engine}dt_projs_weight"].shape
    return {
        "heads": heads,
        "state": state[f"{engine}A_logs"].shape[1],
        "dt_rank": None if rank == -(-width // 16) else rank,
        "projection": f"{prefix}y_proj.weight" in state,
    }


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `mhs_vm` that an official state dict was made with.

    Raises:
        BadDataError: These are no such weights.
    """
    arguments = skeleton_arguments(state, "MHS-VM")
    first = "vmunet.layers.0.blocks.0.self_attention."
    mixer = {
        "name": "multi_head_scan",
        **heads_arguments(state, f"{first}mhs."),
        "gated": f"{first}in_proj.weight" in state,
        "conv_width": state[f"{first}conv2d.weight"].shape[-1],
        "conv_bias": f"{first}conv2d.bias" in state,
        "bias": f"{first}in_proj.bias" in state,
    }
    return {**arguments, "mixer": mixer}


KEYMAP = KeyMap(layouts=(u_shape(MIXER),), infer=infer, aliases=ALIASES)
HEADS_ALONE = KeyMap(layouts=(HEADS,), infer=heads_arguments, aliases=ALIASES)
"""The multi-head scan alone, as `ScanHeads` holds it."""
