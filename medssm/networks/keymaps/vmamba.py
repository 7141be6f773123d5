"""Keys that the VMamba family shares: the cross-scan's tensors, and what they tell of its shape."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from medssm.networks.keymaps.rules import KeyMap, Rule

SCAN = (
    Rule("x_proj_weight", "x_proj"),
    Rule("dt_projs_weight", "dt_weight"),
    Rule("dt_projs_bias", "dt_bias"),
    Rule("A_logs", "A_log", joined=2),
    Rule("Ds", "D", joined=2),
)
"""The stacked parameters of K routes: the route is the slow part of the official first axis."""
CROSS_SCAN = (
    *(Rule(rule.official, f"scan.{rule.ours}", joined=rule.joined) for rule in SCAN),
    Rule("in_proj.{tail}", "in_proj.{tail}"),
    Rule("conv2d.{tail}", "conv.conv.{tail}"),
    Rule("out_norm.{tail}", "out_norm.{tail}"),
    Rule("out_proj.{tail}", "out_proj.{tail}"),
)
"""The keys of one SS2D, of the first form and of the v2 family."""


def beneath(rules: tuple[Rule, ...], official: str, ours: str) -> tuple[Rule, ...]:
    """The same rules for a module that lies deeper on both sides."""
    return tuple(
        replace(rule, official=official + rule.official, ours=ours + rule.ours) for rule in rules
    )


def cross_scan_arguments(state: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """The arguments of a `CrossScan` whose official tensors begin with a prefix.

    Whether a gate goes through SiLU leaves no trace; it is taken to.
    """
    width = state[f"{prefix}out_proj.weight"].shape[0]
    inner = state[f"{prefix}dt_projs_bias"].shape[1]
    rank = state[f"{prefix}dt_projs_weight"].shape[2]
    conv = state.get(f"{prefix}conv2d.weight")
    gated = state[f"{prefix}in_proj.weight"].shape[0] == 2 * inner
    return {
        "state": state[f"{prefix}A_logs"].shape[1],
        "expand": inner / width,
        # the rule that is the default needs no saying, so that every width of a network fits
        "dt_rank": None if rank == -(-width // 16) else rank,
        "conv_width": 1 if conv is None else conv.shape[-1],
        "conv_bias": conv is None or f"{prefix}conv2d.bias" in state,
        "bias": f"{prefix}out_proj.bias" in state,
        "gate": "silu" if gated else "none",
        "out_norm": _out_norm(state, prefix),
    }


def _out_norm(state: Mapping[str, Tensor], prefix: str) -> str:
    if f"{prefix}out_norm.1.weight" in state:
        return "layer_convolution"
    weight = state.get(f"{prefix}out_norm.weight")
    if weight is None:
        return "none"
    return "layer" if weight.ndim == 1 else "convolution"


def count_blocks(state: Mapping[str, Tensor], pattern: str) -> list[int]:
    """Blocks of each level: a pattern with the level and the block as its two numbers.

    Args:
        state: Official tensors.
        pattern: A regular expression for one key of every block.
    """
    compiled = re.compile(pattern)
    found = {(int(m[1]), int(m[2])) for key in state if (m := compiled.fullmatch(key))}
    levels = [level for level, _ in found]
    return [levels.count(level) for level in range(max(levels, default=-1) + 1)]


def _alone(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a `CrossScan` that stands by itself."""
    channels = state["out_proj.weight"].shape[0]
    return {"channels": channels, **cross_scan_arguments(state, "")}


CROSS_SCAN_ALONE = KeyMap(layouts=(CROSS_SCAN,), infer=_alone)
"""One SS2D alone, as `CrossScan` holds it."""
