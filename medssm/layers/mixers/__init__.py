"""The table of token mixers: modules from (B, *S, C) to the same shape."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from medssm.core.errors import UsageError
from medssm.core.registry import Table
from medssm.core.signature import parameters_of

MIXERS = Table(
    "mixer",
    {
        "mamba": "medssm.layers.mixers.mamba:Mamba",
        "bidirectional": "medssm.layers.mixers.bidirectional:BidirectionalMamba",
        "cross_scan": "medssm.layers.mixers.cross_scan:CrossScan",
        "vim": "medssm.layers.mixers.bidirectional:BidirectionalMamba",
        "vim_v1": "medssm.layers.mixers.vim_v1:SharedBidirectionalMamba",
        "segmamba": "medssm.layers.mixers.segmamba:TriOrientedMamba",
        "srmamba": "medssm.layers.mixers.srmamba:SequenceReorderingMamba",
        "lbmamba": "medssm.layers.mixers.lbmamba:LocallyBidirectionalMamba",
        "multi_head_scan": "medssm.layers.mixers.multi_head_scan:MultiHeadScan",
        "multi_scale_scan": "medssm.layers.mixers.multi_scale_scan:MultiScaleScan",
        "efficientvmamba": "medssm.layers.mixers.efficientvmamba:AtrousMamba",
        "msvmamba": "medssm.layers.mixers.msvmamba:MultiScaleMamba",
        "groupmamba": "medssm.layers.mixers.groupmamba:GroupMamba",
        "spatialmamba": "medssm.layers.mixers.spatialmamba:StateFusionMamba",
        "vssd": "medssm.layers.mixers.vssd:NonCausalSSD",
        "efficientvim": "medssm.layers.mixers.efficientvim:HiddenStateMixer",
        "s4d": "medssm.layers.mixers.s4d:S4D",
        "s4nd": "medssm.layers.mixers.s4nd:S4ND",
        "convolution": "medssm.layers.mixers.gated:GatedConvolution",
        "none": "medssm.layers.mixers.gated:GatedPointwise",
    },
    "medssm.mixers",
)


def build_mixer(
    mixer: Mapping[str, Any], channels: int, spatial_dims: int, layer: int = 0
) -> nn.Module:
    """Build the mixer that a configuration names, for maps of one width and rank.

    Args:
        mixer: ``name`` and, if wanted, arguments of that mixer.
        channels: Width of the map.
        spatial_dims: Rank of the map, given to the mixers that ask for it.
        layer: Place among the mixers of a level, given to those that alternate by it.

    Raises:
        UsageError: No name, an unknown one, or an argument that the mixer does not have.
    """
    if "name" not in mixer:
        raise UsageError(f"mixer needs a name, e.g. mixer.name=mamba; found {dict(mixer)}")
    parameters = parameters_of(MIXERS.load(mixer["name"]))
    of_the_place = {"channels": channels, "spatial_dims": spatial_dims, "layer": layer}
    given = {name: value for name, value in of_the_place.items() if name in parameters}
    return MIXERS.build(**{**given, **mixer})
