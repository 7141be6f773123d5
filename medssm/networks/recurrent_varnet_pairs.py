"""The recurrent variational network in real numbers alone, as ONNX needs it."""

from typing import cast

import torch
from torch import Tensor, nn

from medssm.mri.coils import normalise_maps
from medssm.mri.real_pairs import fft2_pairs, times, times_conjugate
from medssm.networks.recurrent_varnet import RecurrentVarNet, RecurrentVarNetBlock


class RealRecurrentVarNet(nn.Module):
    """The answers of a `RecurrentVarNet` without complex numbers and fast transforms.

    Args:
        network: Whose weights are used; it is not changed.

    Shape:
        As `RecurrentVarNet`.
    """

    def __init__(self, network: RecurrentVarNet) -> None:
        super().__init__()
        self.network = network
        self.centred = network.centred

    def forward(self, masked: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Reconstruct."""
        network = self.network
        if network.refinement is not None:
            maps = network.refined(maps)
        state = self._first_state(masked, maps)
        kspace, taken = masked, mask.to(masked.dtype)
        for step in range(network.num_steps):
            block = cast("RecurrentVarNetBlock", network.blocks[0 if network.shared else step])
            image = times_conjugate(fft2_pairs(kspace, self.centred, inverse=True), maps).sum(1)
            wanted, state = block.unit(image.movedim(-1, 1), state)
            sent = fft2_pairs(times(wanted.movedim(1, -1).unsqueeze(1), maps), self.centred)
            kspace = kspace - block.step_size * (taken * (kspace - masked)) + sent
        return kspace

    def _first_state(self, masked: Tensor, maps: Tensor) -> Tensor | None:
        network = self.network
        if network.initializer is None:
            return None
        seen = masked.sum(1)
        if network.initialises_from != "zero_filled":
            coils = fft2_pairs(masked, self.centred, inverse=True)
            seen = fft2_pairs(times_conjugate(coils, maps).sum(1), self.centred)
        state: Tensor = network.initializer(seen.movedim(-1, 1))
        return state


def real_maps(centre: Tensor, centred: bool) -> Tensor:
    """`estimate_maps` behind its window, in real numbers alone.

    Shape:
        centre: (N, coil, H, W, 2), result the same.
    """
    return normalise_maps(normalise_maps(fft2_pairs(centre, centred, inverse=True)))


def root_of_squares(x: Tensor) -> Tensor:
    """Root of the sum of squares over coils and over (real, imaginary).

    Shape:
        x: (N, coil, H, W, 2), result: (N, H, W).
    """
    return torch.sqrt(x.square().sum((1, 4)))
