"""A reconstruction as MONAI calls networks: one tensor in, one out."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from medssm.core.signature import make
from medssm.fields.reconstruction.preparation import Preparation
from medssm.fields.reconstruction.program import program_of
from medssm.networks import RECONSTRUCTION_NETWORKS


class PackedReconstruction(nn.Module):
    """Samples, mask and its fully sampled centre as planes of one tensor, to magnitude images.

    Args:
        network: Name and arguments.
        preparation: How slices are prepared.

    Shape:
        x: (B, 2 coils + 2, H, W): real and imaginary part of every coil in turn, the mask, its
        centre; result (B, 1, H, W).
    """

    def __init__(self, network: Mapping[str, Any], preparation: Mapping[str, Any]) -> None:
        super().__init__()
        settings: Preparation = make(Preparation, preparation, "preparation")
        built = RECONSTRUCTION_NETWORKS.build(**network)
        self.program = program_of(built, settings, given_maps=False, real=False)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct slices."""
        kspace = x[:, :-2].reshape(x.shape[0], -1, 2, *x.shape[2:]).movedim(2, -1)
        mask, acs = (x[:, place, None, :, :, None] > 0.5 for place in (-2, -1))
        image, _ = self.program(kspace, mask, acs)
        found: Tensor = image[:, None]
        return found
