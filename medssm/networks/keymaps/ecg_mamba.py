"""Vim's official keys, on a signal or an image of height one, and what they tell of the sizes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.networks.keymaps.rules import KeyMap, Rule

SAME = Rule("{tail}", "{tail}")
SIGNAL = (SAME,)
ROW = (Rule("patch_embed.proj.weight", "patch_embed.proj.weight", row=2), SAME)
"""The 2D class on an image of one row: its patches have a height of one."""


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `ECGMamba` that a state dict in Vim's layout was made with.

    What leaves no trace is taken as Vim has it and can be told by a hint: touching patches
    (``stride``), the class token in the middle (``class_token``), directions averaged
    (``mixer={"merge": "sum"}``), the mean where there is no class token (``pooling``).

    Raises:
        BadDataError: No embedding of a signal, or of an image of one row.
    """
    weight = state["patch_embed.proj.weight"]
    if weight.ndim not in (3, 4) or (weight.ndim == 4 and weight.shape[2] != 1):
        raise BadDataError(
            f"patch_embed.proj.weight has the shape {tuple(weight.shape)}. Expected (width, leads, "
            "samples) or (width, leads, 1, samples): the patches of a signal, not of an image."
        )
    depth = len({key.split(".")[1] for key in state if key.startswith("layers.")})
    tokens = {"cls_token_head": "double", "cls_token": "middle"}
    class_token = next((kind for key, kind in tokens.items() if key in state), "none")
    found: dict[str, Any] = {
        "in_channels": weight.shape[1],
        "out_channels": state["head.weight"].shape[0],
        "width": weight.shape[0],
        "depth": depth,
        "stem": "patch",
        "patch": weight.shape[-1],
        "class_token": class_token,
        "positions": "pos_embed" in state,
        "norm": "layer" if "norm_f.bias" in state else "rms",
    }
    if "pos_embed" in state:
        extra = {"double": 2, "none": 0}.get(class_token, 1)
        found["tokens"] = state["pos_embed"].shape[1] - extra
    if depth:
        found["mixer"] = infer_mixer(state, "layers.0.mixer.")
    return found


def infer_mixer(state: Mapping[str, Tensor], start: str = "") -> dict[str, Any]:
    """The arguments of the mixer whose keys begin so: Vim's "v2", "v1", or plain Mamba."""
    inner, states = state[f"{start}A_log"].shape
    width = state[f"{start}out_proj.weight"].shape[0]
    found: dict[str, Any] = {
        "name": "mamba",
        "state": states,
        "conv_width": state[f"{start}conv1d.weight"].shape[-1],
        "expand": inner // width,
        "dt_rank": state[f"{start}dt_proj.weight"].shape[1],
    }
    if f"{start}conv1d_b.weight" not in state:
        return found | ({"name": "vim_v1"} if f"{start}A_b_log" in state else {})
    found |= {
        "name": "vim",
        "merge": "mean",
        "projection_bias": f"{start}in_proj.bias" in state,
        "conv_bias": f"{start}conv1d.bias" in state,
    }
    if f"{start}gamma" in state:
        found["layer_scale"] = 1.0
    return found


KEYMAP = KeyMap(layouts=(SIGNAL, ROW), infer=infer)
MIXER_ALONE = KeyMap(layouts=(SIGNAL,), infer=infer_mixer)
"""One mixer alone; its keys are ours."""
