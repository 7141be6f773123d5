"""What each golden case builds: the text of its `builds` key to our module, filled and ready."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medssm.layers.mixers.cross_scan import CrossScan
from medssm.layers.mixers.multi_head_scan import ScanHeads
from medssm.layers.patches import LargeKernelExpanding
from medssm.networks.keymaps import load_official
from medssm.networks.keymaps import msvm_unet as msvm
from medssm.networks.keymaps.lightm_unet import RVM_LAYER
from medssm.networks.keymaps.mhs_vm import HEADS_ALONE
from medssm.networks.keymaps.rules import KeyMap
from medssm.networks.keymaps.vmamba import CROSS_SCAN_ALONE
from medssm.networks.lightm_unet import RvmLayer
from medssm.networks.msvm_unet import (
    Encoder,
    Head,
    multi_scale_blocks,
)

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Built:
    """A module ready to run on a case's inputs.

    Args:
        module: Ours, with the case's weights.
        whole: Whether it is a whole network, which is allowed the wider tolerance.
        around: Takes the module to a call on the official axis order, if that is another.
    """

    module: nn.Module
    whole: bool
    around: Callable[[nn.Module], Callable[..., Tensor]] | None = None

    def run(self, *inputs: Tensor) -> Tensor:
        """From the case's inputs to its output."""
        call = self.module if self.around is None else self.around(self.module)
        return call(*inputs)

    @property
    def parameters(self) -> int:
        """Learned numbers."""
        return sum(each.numel() for each in self.module.parameters())

    @property
    def tolerance(self) -> tuple[float, float]:
        """Absolute and relative tolerance (SEGMODELS section 9)."""
        return (2e-4, 1e-3) if self.whole else (3e-5, 1e-4)


def light_m_unet(constructor: Mapping[str, Any], weights: Weights) -> Built:
    names = {"dropout_prob": "dropout"}
    hints = {names.get(key, key): value for key, value in constructor.items() if value is not None}
    network, _ = load_official("lightm_unet", weights, **hints)
    return Built(network, whole=True)


def rvm_layer(constructor: Mapping[str, Any], weights: Weights) -> Built:
    names = {"d_state": "state", "d_conv": "conv_width", "expand": "expand"}
    options = {ours: constructor[theirs] for theirs, ours in names.items() if theirs in constructor}
    layer = RvmLayer(
        constructor["input_dim"],
        constructor["output_dim"],
        spatial_dims=2,  # no weight of a Mamba depends on it
        mixer={"name": "mamba", **options},
    )
    fitted, report = RVM_LAYER.to_ours(weights, layer.state_dict(), spatial_dims=2)
    report.raise_unless_complete()
    layer.load_state_dict(fitted)
    return Built(layer.eval(), whole=False, around=channels_last)


def channels_last(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A module of maps (B, *S, C) run on the official axis order (B, C, *S)."""
    return lambda x: module(x.movedim(1, -1)).movedim(-1, 1)


def deepest_map(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The last of an encoder's maps, on the official axis order."""
    return lambda x: module(x.movedim(1, -1))[-1].movedim(-1, 1)


def fill(keymap: KeyMap, weights: Weights, module: nn.Module, spatial_dims: int = 2) -> nn.Module:
    """A module with official weights, complete or loud, in evaluation mode."""
    fitted, report = keymap.to_ours(weights, module.state_dict(), spatial_dims)
    report.raise_unless_complete()
    module.load_state_dict(fitted)
    return module.eval()


def vm_unet(constructor: Mapping[str, Any], weights: Weights) -> Built:
    network, _ = load_official("vm_unet", weights, drop_path=constructor.get("drop_path_rate", 0.2))
    return Built(network, whole=True)


def ss2d_v0(_constructor: Mapping[str, Any], weights: Weights) -> Built:
    scan = CrossScan(spatial_dims=2, **CROSS_SCAN_ALONE.infer(weights))
    return Built(fill(CROSS_SCAN_ALONE, weights, scan), whole=False)


def forward_type(name: str) -> dict[str, Any]:
    """What a forward type of VMamba's v2 family says beside the tensors' shapes."""
    options: dict[str, Any] = {}
    if "_nozact" in name:
        options["gate"] = "linear"
    if "_oact" in name:
        options["out_activation"] = "gelu"
    for norm in ("softmax", "sigmoid"):
        if f"_on{norm}" in name:
            options["out_norm"] = norm
    for start, directions in (("v051d", "one_way"), ("v052d", "two_way")):
        if name.startswith(start):
            options["directions"] = directions
    return options


def ss2d_v2(constructor: Mapping[str, Any], weights: Weights) -> Built:
    options = forward_type(constructor.get("forward_type", "v05"))
    scan = CrossScan(spatial_dims=2, **{**CROSS_SCAN_ALONE.infer(weights), **options})
    filled = fill(CROSS_SCAN_ALONE, weights, scan)
    around = channels_last if constructor.get("channel_first") else None
    return Built(filled, whole=False, around=around)


def msvm_unet(_constructor: Mapping[str, Any], weights: Weights) -> Built:
    network, _ = load_official("msvm_unet", weights)
    return Built(network, whole=True)


def msvm_encoder(_constructor: Mapping[str, Any], weights: Weights) -> Built:
    encoder = fill(
        msvm.ENCODER_ALONE, weights, Encoder(**msvm.encoder_arguments(weights), drop_path=0.0)
    )
    return Built(encoder, whole=True, around=deepest_map)


def msvss(constructor: Mapping[str, Any], weights: Weights) -> Built:
    options = forward_type(constructor.get("forward_type", "v05_noz"))
    arguments = msvm.infer_blocks(weights)
    arguments["mixer"] |= options
    blocks = multi_scale_blocks(
        spatial_dims=2, rates=[0.0] * constructor.get("depth", 1), **arguments
    )
    return Built(fill(msvm.BLOCKS_ALONE, weights, blocks), whole=False, around=channels_last)


def lkpe(constructor: Mapping[str, Any], weights: Weights) -> Built:
    width = constructor["dim"]
    module = LargeKernelExpanding(2, width, width // 2)
    return Built(fill(msvm.EXPANDING_ALONE, weights, module), whole=False, around=channels_last)


def flkpe(constructor: Mapping[str, Any], weights: Weights) -> Built:
    module = Head(2, constructor["dim"], constructor["num_classes"], factor=4)
    return Built(fill(msvm.HEAD_ALONE, weights, module), whole=False, around=channels_last)


def mhs_vm(constructor: Mapping[str, Any], weights: Weights) -> Built:
    threshold = constructor["para_dict"]["gfu_t"]
    network, _ = load_official("mhs_vm", weights, mixer={"threshold": threshold})
    return Built(network, whole=True)


def mhsm(constructor: Mapping[str, Any], weights: Weights) -> Built:
    heads = ScanHeads(
        constructor["d_model"],
        spatial_dims=2,
        threshold=constructor["para_dict"]["gfu_t"],
        **HEADS_ALONE.infer(weights),
    )
    filled = fill(HEADS_ALONE, weights, heads)
    return Built(filled, whole=False, around=lambda module: lambda x: module(x.movedim(1, -1)))


# the beginning of what a case says it builds
BUILDERS: dict[str, Callable[[Mapping[str, Any], Weights], Built]] = {
    "LightMUNet": light_m_unet,
    "MambaLayer (the RVM layer alone)": rvm_layer,
    "VMUNet": vm_unet,
    "SS2D of VM-UNet": ss2d_v0,
    "VMamba SS2D": ss2d_v2,
    "MHS-VM VMUNet": mhs_vm,
    "MHSM": mhsm,
    "MSVMUNet": msvm_unet,
    "Encoder": msvm_encoder,
    "MSVSS": msvss,
    "LKPE": lkpe,
    "FLKPE": flkpe,
}


def builder_of(builds: str) -> Callable[[Mapping[str, Any], Weights], Built] | None:
    """The builder whose name begins the text, the longest first; None where nobody knows it."""
    known = sorted(BUILDERS, key=len, reverse=True)
    return next((BUILDERS[name] for name in known if builds.startswith(name)), None)


def build(case: Mapping[str, Any], weights: Weights) -> Built:
    """Our filled module of a case.

    Raises:
        KeyError: No builder knows what the case builds.
    """
    builder = builder_of(case.get("builds", ""))
    if builder is None:
        raise KeyError(case.get("builds", ""))
    with torch.random.fork_rng():
        return builder(case.get("constructor", {}), weights)
