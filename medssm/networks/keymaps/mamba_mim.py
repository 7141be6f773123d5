"""MambaMIM's official keys: the whole pre-training model, or the encoder that was released."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medssm.networks.keymaps.hybrid_mamba import (
    ENCODER,
    PREFIXES,
    SPARE,
    encoder_arguments,
    encoder_prefix,
)
from medssm.networks.keymaps.pretrained import PretrainedEncoder
from medssm.networks.keymaps.rules import KeyMap, Rule
from medssm.networks.keymaps.vmamba import beneath

# the authors' sequences: convolution, batch norm, ReLU, twice
DOUBLE = (
    Rule("conv.0.{tail}", "conv1.conv.{tail}"),
    Rule("conv.1.{tail}", "norm1.{tail}"),
    Rule("conv.3.{tail}", "conv2.conv.{tail}"),
    Rule("conv.4.{tail}", "norm2.{tail}"),
)
HIDDEN = Rule("mae.mask_token", "hidden_token", row=0)
REST = (
    Rule("A_interpolation", "toki.matrix", row=0),
    Rule("mask_tokens.{i+1}", "mask_tokens.{i}", ones=0),
    Rule("densify_projs.{i}.{tail}", "reconstruction.densify.{i}.conv.{tail}"),
    Rule("dense_decoder.dec.{i}.up_sample.{tail}", "reconstruction.up.{i}.conv.{tail}"),
    *beneath(DOUBLE, "dense_decoder.dec.{i}.", "reconstruction.blocks.{i}."),
    *beneath(DOUBLE, "dense_decoder.fuse.{i+1}.", "reconstruction.fuse.{i}."),
    Rule("dense_decoder.proj.weight", "reconstruction.head.weight", ones=0),
    Rule("dense_decoder.proj.bias", "reconstruction.head.bias"),
)
_UNREACHED = "the loss never reaches it"


def _layout(prefix: str) -> tuple[Rule, ...]:
    hidden = beneath((HIDDEN,), prefix, "")
    return (*hidden, *beneath(ENCODER, prefix, "encoder."), *REST)


def _spare() -> dict[str, str]:
    spare = {key: why for key, why in SPARE.items() if not key.endswith("mask_token")}
    patterns = ("mask_tokens.{i}", "densify_projs.{i}.{tail}", "dense_decoder.fuse.0.{tail}")
    return {**spare, **dict.fromkeys(patterns, _UNREACHED)}


def infer(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a `MambaMIM` that official weights belong to."""
    stem = state[f"{encoder_prefix(state)}embeddings.stem.weight"]
    arguments = {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "encoder": {"name": "hybrid_mamba", **encoder_arguments(state)},
    }
    first = state.get("dense_decoder.dec.0.up_sample.weight")
    return arguments if first is None else {**arguments, "decoder_width": first.shape[0]}


KEYMAP = KeyMap(layouts=(_layout("sparse_encoder."),), infer=infer, spare=_spare())
PRETRAINED = PretrainedEncoder(
    recognises=lambda state: (
        any(key.endswith("embeddings.stem.weight") for key in state)
        and not any(key.startswith("dense_decoder.") for key in state)
    ),
    encoder=KeyMap(
        layouts=tuple(
            (*beneath((HIDDEN,), prefix, ""), *beneath(ENCODER, prefix, "encoder."))
            for prefix in PREFIXES
        ),
        infer=infer,
        spare=_spare(),
    ),
    fresh=("reconstruction.", "toki.", "mask_tokens.", "hidden_token"),
    why_fresh="the encoder alone was released",
)
