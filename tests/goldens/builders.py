"""What each golden case builds: the text of its `builds` key to our module, filled and ready."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medssm.networks.keymaps import load_official
from medssm.networks.keymaps.lightm_unet import RVM_LAYER
from medssm.networks.lightm_unet import RvmLayer

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Built:
    """A module ready to run on a case's inputs.

    Args:
        run: From the case's inputs to its output.
        whole: Whether it is a whole network, which is allowed the wider tolerance.
    """

    run: Callable[..., Tensor]
    whole: bool

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
    return Built(channels_last(layer.eval()), whole=False)


def channels_last(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A module of maps (B, *S, C) run on the official axis order (B, C, *S)."""
    return lambda x: module(x.movedim(1, -1)).movedim(-1, 1)


BUILDERS: dict[str, Callable[[Mapping[str, Any], Weights], Built]] = {
    "LightMUNet": light_m_unet,
    "MambaLayer (the RVM layer alone)": rvm_layer,
}


def build(case: Mapping[str, Any], weights: Weights) -> Built:
    """Our filled module of a case.

    Raises:
        KeyError: No builder knows what the case builds.
    """
    with torch.random.fork_rng():
        return BUILDERS[case.get("builds", "")](case.get("constructor", {}), weights)
