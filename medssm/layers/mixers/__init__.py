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
        "convolution": "medssm.layers.mixers.gated:GatedConvolution",
        "none": "medssm.layers.mixers.gated:GatedPointwise",
    },
    "medssm.mixers",
)


def build_mixer(mixer: Mapping[str, Any], channels: int, spatial_dims: int) -> nn.Module:
    """Build the mixer that a configuration names, for maps of one width and rank.

    Args:
        mixer: ``name`` and, if wanted, arguments of that mixer.
        channels: Width of the map.
        spatial_dims: Rank of the map, given to the mixers that ask for it.

    Raises:
        UsageError: No name, an unknown one, or an argument that the mixer does not have.
    """
    if "name" not in mixer:
        raise UsageError(f"mixer needs a name, e.g. mixer.name=mamba; found {dict(mixer)}")
    arguments = {"channels": channels, **mixer}
    if "spatial_dims" in parameters_of(MIXERS.load(mixer["name"])):
        arguments["spatial_dims"] = spatial_dims
    return MIXERS.build(**arguments)
