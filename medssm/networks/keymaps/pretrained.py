"""VMamba classifiers as encoders that start VM-UNet and MSVM-UNet: what fits, and what not."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from medssm.core.errors import BadDataError
from medssm.networks.keymaps.rules import KeyMap, LoadReport, Rule
from medssm.networks.keymaps.vmamba import CROSS_SCAN, beneath, count_blocks, cross_scan_arguments

CLASSIFIER = dict.fromkeys(
    ("classifier.", "head.", "norm.weight", "norm.bias"), "belongs to the classifier"
)

BLOCK = re.compile(r"encoder\.(\d+\.blocks|stages\.\d+)\.\d+\.")
"""How our keys of one block begin."""


@dataclass(frozen=True)
class PretrainedEncoder:
    """Weights of a classifier that fill a network's encoder.

    Args:
        recognises: Whether an official state dict is such a classifier's.
        encoder: The rules that fill the encoder; its `infer` gives the network's arguments.
        fresh: Beginnings of our keys that such weights cannot fill.
        second: The rules of a second pass over the same weights, given the number of stages.
        why_fresh: Why it cannot.
    """

    recognises: Callable[[Mapping[str, Tensor]], bool]
    encoder: KeyMap
    fresh: tuple[str, ...]
    second: Callable[[int], KeyMap] | None = None
    why_fresh: str = "a classifier has no decoder"

    def to_ours(
        self, state: Mapping[str, Tensor], network: nn.Module, spatial_dims: int
    ) -> tuple[dict[str, Tensor], LoadReport]:
        """What of a classifier's weights fits a network, and the report on all keys."""
        ours = network.state_dict()
        fitted, report = self.encoder.to_ours(state, ours, spatial_dims)
        deeper = [key for key in report.left_over if self._is_deeper(key, ours)]
        report.left_over = [key for key in report.left_over if key not in deeper]
        report.ignored |= dict.fromkeys(deeper, "the network has fewer blocks at this stage")
        if self.second is not None:
            stages = len(count_blocks(state, r"layers\.(\d+)\.blocks\.(\d+)\..*norm\.weight"))
            copies, again = self.second(stages).to_ours(state, ours, spatial_dims)
            fitted |= copies
            report.copied = again.fitted
        empty = [name for name in ours if name not in fitted]
        report.fresh = {name: self.why_fresh for name in empty if name.startswith(self.fresh)}
        report.missing = [name for name in empty if name not in report.fresh]
        return fitted, report

    def _is_deeper(self, key: str, ours: Mapping[str, Tensor]) -> bool:
        """Whether a key lies in a block that the network does not have."""
        block = BLOCK.match(self.encoder.name_of(key) or "")
        return block is not None and not any(name.startswith(block[0]) for name in ours)


def _blocks(norm: str, mixer: str) -> tuple[Rule, ...]:
    """The keys of one block of the first form, with the names of its two parts."""
    return (
        Rule(f"{norm}.{{tail}}", "norm.{tail}"),
        *beneath(CROSS_SCAN, f"{mixer}.", "mixer."),
    )


BLOCK_NAMES = (("ln_1", "self_attention"), ("norm", "op"))
"""Early and present names of a block's two parts."""
STEM_NAMES = (("proj", "norm"), ("0", "2"))
MERGING = Rule("layers.{i}.downsample.{tail}", "encoder.{i}.merging.{tail}")


def _first_form(stem: tuple[str, str], parts: tuple[str, str]) -> tuple[Rule, ...]:
    return (
        Rule(f"patch_embed.{stem[0]}.{{tail}}", "embed.proj.conv.{tail}"),
        Rule(f"patch_embed.{stem[1]}.{{tail}}", "embed.norm.{tail}"),
        *beneath(_blocks(*parts), "layers.{i}.blocks.{j}.", "encoder.{i}.blocks.{j}."),
        MERGING,
    )


def _mirrored(stages: int) -> KeyMap:
    """The authors' second pass: stage i of the encoder also fills the decoder's opposite stage."""
    layouts = tuple(
        tuple(
            rule
            for stage in range(stages)
            for rule in beneath(
                _blocks(*parts),
                f"layers.{stage}.blocks.{{j}}.",
                f"decoder.{stages - 1 - stage}.blocks.{{j}}.",
            )
        )
        for parts in BLOCK_NAMES
    )
    return KeyMap(layouts=layouts, infer=lambda _: {})


def is_vmamba(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is a VMamba classifier's, of any time."""
    return any(key.startswith("patch_embed.") for key in state)


def _first_form_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of a `VMUNet` around a VMamba of the first form.

    Depths stay the network's own, since the authors use the first blocks of a deeper classifier.

    Raises:
        BadDataError: It is a later VMamba.
    """
    if any(".mlp." in key for key in state):
        raise BadDataError(
            "these are weights of a later VMamba, whose blocks have an MLP: they fit msvm_unet. "
            "vm_unet starts from the first form (v0), e.g. vmamba_small_e238_ema"
        )
    early = "patch_embed.proj.weight" in state
    stem = state["patch_embed.proj.weight" if early else "patch_embed.0.weight"]
    scan = f"layers.0.blocks.0.{'self_attention' if early else 'op'}."
    return {
        "spatial_dims": stem.ndim - 2,
        "in_channels": stem.shape[1],
        "width": stem.shape[0],
        "patch": stem.shape[2],
        "mixer": {"name": "cross_scan", **cross_scan_arguments(state, scan)},
    }


VM_UNET = PretrainedEncoder(
    recognises=is_vmamba,
    encoder=KeyMap(
        layouts=tuple(map(_first_form, STEM_NAMES, BLOCK_NAMES)),
        infer=_first_form_arguments,
        beside=CLASSIFIER,
    ),
    fresh=("decoder.", "head.", "deep_heads."),
    second=_mirrored,
)
