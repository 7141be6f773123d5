"""Weighted data consistency behind a network: a least-squares image near the network's own."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medssm.core.errors import BadDataError, MachineError
from medssm.core.log import say
from medssm.fields.reconstruction.baselines import espirit_maps
from medssm.mri.coils import combine, expand
from medssm.mri.fourier import as_complex, fft2, ifft2

WEIGHTS = (0.3, 0.1, 0.03, 0.01)
"""What is tried beside the network's own answer; data are scaled so that the image is about 1."""
ITERATIONS = 15


@dataclass(frozen=True)
class Measured:
    """What a slice was measured to be.

    Args:
        masked: Samples, scaled.
        mask: Where they are.
        maps: Sensitivities that explain the coil images (ESPIRiT's).
        centred: Where the origin of k-space lies.

    Shape:
        masked, maps: (1, coil, H, W, 2), mask: (1, 1, H, W, 1).
    """

    masked: Tensor
    mask: Tensor
    maps: Tensor
    centred: bool


def explaining_maps(kspace: np.ndarray, acs: np.ndarray, centred: bool) -> Tensor | None:
    """ESPIRiT's maps; None, and why, where they cannot be had.

    Shape:
        kspace: (coil, H, W), acs: (H, W), result (1, coil, H, W, 2).
    """
    if len(kspace) == 1:
        return None
    try:
        found = espirit_maps(kspace, acs, centred=centred)
    except (BadDataError, MachineError) as error:
        say("consistency=soft: no maps by ESPIRiT (%s)", error)
        return None
    return torch.view_as_real(torch.from_numpy(found))[None]


def consistent(kspace: Tensor, measured: Measured, weight: float) -> Tensor:
    """Move k-space of a network towards the measured samples as far as the maps can.

    x minimises ||M F S x - y||^2 + weight ||x - x0||^2 with x0 the network's image behind the
    maps; the result is the network's k-space plus F S (x - x0). What the maps do not explain, the
    noise that a sum of squares keeps among it, stays as the network has it.

    Args:
        kspace: The network's, scaled as `measured`.
        measured: Samples, mask and maps.
        weight: How far the image is believed; less than the noise of the image squared is no use.

    Shape:
        kspace and result: (1, coil, H, W, 2).

    Source:
        Aggarwal et al., "MoDL", 2019, equation 7, used once behind a network; RECON section 9.5.
    """
    start = combine(ifft2(kspace, measured.centred), measured.maps)
    change = _conjugate_gradients(_residual(start, measured), measured, weight)
    return kspace + fft2(expand(change, measured.maps), measured.centred)


def explained(kspace: Tensor, maps: Tensor, centred: bool) -> Tensor:
    """The part of k-space that the maps explain: without noise of single coils.

    Shape:
        kspace, maps and result: (1, coil, H, W, 2).
    """
    return fft2(expand(combine(ifft2(kspace, centred), maps), maps), centred)


def _forward(image: Tensor, measured: Measured) -> Tensor:
    return fft2(expand(image, measured.maps), measured.centred) * measured.mask


def _adjoint(kspace: Tensor, measured: Measured) -> Tensor:
    return combine(ifft2(kspace * measured.mask, measured.centred), measured.maps)


def _residual(image: Tensor, measured: Measured) -> Tensor:
    return _adjoint(measured.masked - _forward(image, measured), measured)


def _conjugate_gradients(right: Tensor, measured: Measured, weight: float) -> Tensor:
    """The change z of the image with (A^H A + weight) z = right."""
    z, r = torch.zeros_like(right), right
    p, size = r, _square(r)
    for _ in range(ITERATIONS):
        if float(size) == 0:
            break
        image = _adjoint(_forward(p, measured), measured) + weight * p
        step = size / (as_complex(p).conj() * as_complex(image)).sum().real
        z, r = z + step * p, r - step * image
        new = _square(r)
        p, size = r + new / size * p, new
    return z


def _square(x: Tensor) -> Tensor:
    return x.square().sum()
