"""The official keys of the other networks over bags, and what their tensors tell."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from medssm.core.errors import UsageError
from medssm.networks.keymaps.bag_hints import in_our_words, require_said
from medssm.networks.keymaps.rules import KeyMap, Rule

Hints = Callable[[Mapping[str, Tensor], Mapping[str, Any]], dict[str, Any]]


def _hints(*wanted: str, other_activation: str = "none", example: str = "") -> Hints:
    def read(_: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
        said = in_our_words(given, other_activation)
        require_said(said, wanted, example)
        return said

    return read


def _ends(state: Mapping[str, Tensor], first: str, last: str) -> dict[str, Any]:
    """Widths at both ends of a network."""
    return {"in_channels": state[first].shape[1], "out_channels": state[last].shape[0]}


# -- mean and maximum ----------------------------------------------------------------------------
# the second layer stands behind an activation and a dropout, where there are such
def _instance_rules(place: int) -> tuple[Rule, ...]:
    return (
        Rule("head.0.{tail}", "embed.{tail}"),
        Rule(f"head.{place}.{{tail}}", "classifier.{tail}"),
    )


def infer_instance(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `InstanceMIL` that leave a trace."""
    last = max(int(key.split(".")[1]) for key in state if key.startswith("head."))
    return {
        **_ends(state, "head.0.weight", f"head.{last}.weight"),
        "width": state["head.0.weight"].shape[0],
    }


INSTANCE_MIL = KeyMap(
    layouts=tuple(map(_instance_rules, (3, 2, 1))),
    infer=infer_instance,
    hints=_hints("pooling", "activation", example='pooling="mean", act="gelu"'),
)


# -- attention, gated attention ------------------------------------------------------------------
ATTENTION_RULES = (
    Rule("feature.{tail}", "embed.{tail}"),
    Rule("attention.{tail}", "attention.{tail}"),
    Rule("attention_V.0.{tail}", "attention.value.{tail}"),
    Rule("attention_U.0.{tail}", "attention.gate.{tail}"),
    Rule("attention_weights.{tail}", "attention.scores.{tail}"),
    Rule("classifier.0.{tail}", "classifier.{tail}"),
)


def infer_attention(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `AttentionMIL` that leave a trace."""
    gated = "attention_V.0.weight" in state
    inner = state["attention_V.0.weight" if gated else "attention.0.weight"]
    return {
        **_ends(state, "feature.0.weight", "classifier.0.weight"),
        "gated": gated,
        "widths": [state["feature.0.weight"].shape[0]],
        "attention_width": inner.shape[0],
    }


ATTENTION_MIL = KeyMap(
    layouts=(ATTENTION_RULES,),
    infer=infer_attention,
    hints=_hints("activation", other_activation="relu", example='act="gelu"'),
)


# -- CLAM ----------------------------------------------------------------------------------------
CLAM_RULES = (
    Rule("attention_net.0.{tail}", "embed.{tail}"),
    Rule("attention_net.3.attention_a.0.{tail}", "attention.value.{tail}"),
    Rule("attention_net.3.attention_b.0.{tail}", "attention.gate.{tail}"),
    Rule("attention_net.3.attention_c.{tail}", "attention.scores.{tail}"),
    Rule("classifiers.{tail}", "classifier.{tail}"),
    Rule("instance_classifiers.{tail}", "instance_classifiers.{tail}"),
)
SIZES = {256: "small", 384: "big"}


def infer_clam(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `CLAM` that leave a trace."""
    heads = {key.split(".")[1] for key in state if key.startswith("instance_classifiers.")}
    several = "classifiers.0.weight" in state
    return {
        "in_channels": state["attention_net.0.weight"].shape[1],
        "out_channels": len(heads),
        "branches": "classes" if several else "one",
        "size": SIZES[state["attention_net.3.attention_a.0.weight"].shape[0]],
        "width": state["attention_net.0.weight"].shape[0],
    }


def clam_hints(state: Mapping[str, Tensor], given: Mapping[str, Any]) -> dict[str, Any]:
    """The user's words as our arguments; the attention is always gated, as CLAM's default is.

    Raises:
        UsageError: The weights are said to be without a gate.
    """
    said = in_our_words({key: value for key, value in given.items() if key != "gate"})
    if not given.get("gate", True) or "attention_net.3.attention_a.0.weight" not in state:
        raise UsageError("these are weights of CLAM without a gate, which is not built here.")
    return said


CLAM = KeyMap(layouts=(CLAM_RULES,), infer=infer_clam, hints=clam_hints)


# -- S4 ------------------------------------------------------------------------------------------
S4_RULES = (
    Rule("_fc1.0.{tail}", "embed.{tail}"),
    Rule("s4_block.0.{tail}", "norm.{tail}"),
    Rule("s4_block.1.kernel.log_dt", "mixer.kernel.log_step"),
    Rule("s4_block.1.output_linear.0.weight", "mixer.out_proj.weight", ones=1),
    Rule("s4_block.1.output_linear.0.bias", "mixer.out_proj.bias"),
    Rule("s4_block.1.{tail}", "mixer.{tail}"),
    Rule("classifier.{tail}", "classifier.{tail}"),
)


def infer_s4(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `S4MIL` that leave a trace."""
    width, modes = state["s4_block.1.kernel.A_imag"].shape
    return {**_ends(state, "_fc1.0.weight", "classifier.weight"), "width": width,
            "state": 2 * modes}  # fmt: skip


S4_MIL = KeyMap(
    layouts=(S4_RULES,), infer=infer_s4, hints=_hints("activation", example='act="gelu"')
)


# -- TransMIL ------------------------------------------------------------------------------------
TRANS_RULES = (
    Rule("cls_token", "class_token"),
    Rule("_fc1.0.{tail}", "embed.{tail}"),
    Rule("pos_layer.proj.{tail}", "positions.convolutions.0.{tail}"),
    Rule("pos_layer.proj{i}.{tail}", "positions.convolutions.{i}.{tail}"),
    Rule("layer{i}.attn.res_conv.weight", "layers.{i-1}.attention.filters", ones=1),
    Rule("layer{i}.attn.to_out.0.{tail}", "layers.{i-1}.attention.to_out.{tail}"),
    Rule("layer{i}.attn.{tail}", "layers.{i-1}.attention.{tail}"),
    Rule("layer{i}.norm.{tail}", "layers.{i-1}.norm.{tail}"),
    Rule("norm.{tail}", "norm.{tail}"),
    Rule("classifier.{tail}", "classifier.{tail}"),
)


def infer_trans(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `TransMIL` that leave a trace."""
    return {
        **_ends(state, "_fc1.0.weight", "classifier.weight"),
        "width": state["_fc1.0.weight"].shape[0],
    }


TRANS_MIL = KeyMap(
    layouts=(TRANS_RULES,), infer=infer_trans, hints=_hints("activation", example='act="gelu"')
)
