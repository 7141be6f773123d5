"""Receive coils: their sums, their sensitivities, and the estimate of these from the centre."""

import torch
from torch import Tensor

from medssm.mri.fourier import as_complex, as_real, ifft2

GAUSSIAN_SIGMA = 0.7
"""What DIRECT takes where a configuration names no width (RECON 2.5)."""


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """A quotient that is zero where the denominator is."""
    zero = denominator == 0
    quotient = numerator / denominator.masked_fill(zero, 1.0)
    return quotient.masked_fill(zero, 0.0)


def rss(x: Tensor, coil_axis: int = 1) -> Tensor:
    """Root of the sum of squares over coils and over (real, imaginary).

    Shape:
        x: (N, coil, H, W, 2), result: (N, H, W).
    """
    return x.square().sum(-1).sum(coil_axis).sqrt()


def magnitude(x: Tensor) -> Tensor:
    """The length of every complex number.

    Shape:
        x: (*, 2), result: (*).
    """
    return x.square().sum(-1).sqrt()


def expand(image: Tensor, maps: Tensor, coil_axis: int = 1) -> Tensor:
    """What every coil sees of an image.

    Shape:
        image: (N, H, W, 2), maps: (N, coil, H, W, 2), result: as `maps`.
    """
    return as_real(as_complex(image).unsqueeze(coil_axis) * as_complex(maps))


def combine(coil_images: Tensor, maps: Tensor, coil_axis: int = 1) -> Tensor:
    """The image of all coils together (SENSE): the adjoint of `expand`.

    Shape:
        coil_images: (N, coil, H, W, 2), maps: the same, result: (N, H, W, 2).
    """
    return as_real((as_complex(coil_images) * as_complex(maps).conj()).sum(coil_axis))


def normalise_maps(maps: Tensor, coil_axis: int = 1) -> Tensor:
    """Sensitivities whose squares add up to one in every pixel, zero where all are zero.

    Shape:
        maps: (N, coil, H, W, 2), result: the same.
    """
    return safe_divide(maps, rss(maps, coil_axis).unsqueeze(coil_axis).unsqueeze(-1))


def estimate_maps(
    kspace: Tensor,
    acs: Tensor,
    centred: bool = True,
    sigma: float | None = GAUSSIAN_SIGMA,
    coil_axis: int = 1,
) -> Tensor:
    """Sensitivities from the fully sampled centre of k-space.

    Args:
        kspace: Whole or masked; both are the same inside the centre.
        acs: Where the centre lies.
        centred: As for `fft2`.
        sigma: Width of the Gaussian along the columns; None leaves it out.
        coil_axis: Which axis the coils are.

    Returns:
        Maps of unit sum of squares, zero where no coil sees anything.

    Shape:
        kspace: (N, coil, H, W, 2), acs: (N, 1, H, W, 1), result: as `kspace`.

    Source:
        RECON section 2.5: g = exp(-(l / sigma)^2) along W with l from -1 to 1.
    """
    centre = windowed_centre(kspace, acs, sigma)
    # a second division, as DIRECT's stages do it: it changes the last bit and nothing else
    return normalise_maps(normalise_maps(ifft2(centre, centred), coil_axis), coil_axis)


def windowed_centre(kspace: Tensor, acs: Tensor, sigma: float | None) -> Tensor:
    """The fully sampled centre under its Gaussian; see `estimate_maps`.

    Shape:
        kspace: (N, coil, H, W, 2), acs: (N, 1, H, W, 1), result: as `kspace`.
    """
    centre = kspace * acs.to(kspace.dtype)
    if sigma is None:
        return centre
    width = kspace.shape[-2]
    # linspace would make the width a constant of an exported program
    line = torch.arange(width, dtype=kspace.dtype, device=kspace.device)
    line = 2 * line / max(width - 1, 1) - 1
    return centre * torch.exp(-((line / sigma) ** 2)).reshape(-1, 1)
