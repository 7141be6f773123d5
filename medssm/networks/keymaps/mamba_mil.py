"""MambaMIL's official keys, and what its tensors tell: not which order the second branch has."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.core.errors import BadDataError, UsageError
from medssm.networks.keymaps.bag_hints import in_our_words, require_said
from medssm.networks.keymaps.rules import KeyMap, Rule

RULES = (
    Rule("_fc1.0.{tail}", "embed.{tail}"),
    Rule("layers.{i}.0.{tail}", "layers.{i}.norm.{tail}"),
    Rule("layers.{i}.1.{tail}", "layers.{i}.mixer.{tail}"),
    Rule("norm.{tail}", "norm.{tail}"),
    Rule("attention.{tail}", "attention.{tail}"),
    Rule("classifier.{tail}", "classifier.{tail}"),
)
TYPES = {"Mamba": "mamba", "BiMamba": "bidirectional", "SRMamba": "srmamba"}
ONE_BRANCH, TWO_BRANCHES = ("mamba", "lbmamba"), ("bidirectional", "vim", "srmamba")
FIRST = "layers.0.1."


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the tensors tell of the arguments of `MambaMIL`.

    Raises:
        BadDataError: These are no such weights.
    """
    if "_fc1.0.weight" not in state or "attention.2.weight" not in state:
        raise BadDataError(
            "these are no MambaMIL weights: expected _fc1.0.weight and attention.2.weight, found "
            f"{', '.join(list(state)[:5])}"
        )
    width, in_channels = state["_fc1.0.weight"].shape
    places = {int(key.split(".")[1]) for key in state if key.startswith("layers.")}
    return {
        "in_channels": in_channels,
        "out_channels": state["classifier.weight"].shape[0],
        "width": width,
        "attention_width": state["attention.0.weight"].shape[0],
        "depth": len(places),
        "mixer": {"name": "srmamba" if _two_branches(state) else "mamba", **_sizes(state)},
    }


def hints(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """The user's words as our arguments.

    Raises:
        UsageError: The type, the rate or the activation is not said, or the type does not fit.
    """
    said = in_our_words(given)
    mixer = dict(said.get("mixer") or {})
    if "type" in said:
        official = str(said.pop("type"))
        if official not in TYPES:
            raise UsageError(f"type={official!r}: expected one of {', '.join(TYPES)}.")
        mixer["name"] = TYPES[official]
    rate = said.pop("rate", None)
    two = _two_branches(state)
    if not two:
        mixer.setdefault("name", "mamba")
    if mixer.get("name") == "srmamba" and rate is not None:
        mixer["rate"] = rate
    example = 'type="SRMamba", rate=5, act="gelu"' if two else 'act="gelu"'
    wanted = ["activation", "type"] + (["rate"] if mixer.get("name") == "srmamba" else [])
    known = {**said, "type": mixer.get("name"), "rate": mixer.get("rate")}
    require_said(known, wanted, example)
    fitting = TWO_BRANCHES if two else ONE_BRANCH
    if mixer["name"] not in fitting:
        raise UsageError(
            f"the weights have {'two branches' if two else 'one branch'} a layer; the mixer "
            f"{mixer['name']!r} has not. Take one of {', '.join(fitting)}."
        )
    return {**said, "mixer": {**_sizes(state), **mixer}}


def _two_branches(state: Mapping[str, Tensor]) -> bool:
    return f"{FIRST}A_b_log" in state


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the tensors of the first mixer tell."""
    if f"{FIRST}A_log" not in state:
        return {}
    inner, states = state[f"{FIRST}A_log"].shape
    width = state["_fc1.0.weight"].shape[0]
    rank = state[f"{FIRST}dt_proj.weight"].shape[1]
    return {
        "state": states,
        "conv_width": state[f"{FIRST}conv1d.weight"].shape[-1],
        "expand": inner // width,
        "dt_rank": None if rank == -(-width // 16) else rank,
    }


KEYMAP = KeyMap(layouts=(RULES,), infer=infer, hints=hints)
