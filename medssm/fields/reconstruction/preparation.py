"""From k-space to what the network is given: padding, mask, sensitivities, scale, target."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.fields.reconstruction.baselines import espirit_maps
from medssm.mri.coils import GAUSSIAN_SIGMA, estimate_maps, magnitude, rss
from medssm.mri.fourier import ifft2
from medssm.mri.undersampling import Mask

ScalingName = Literal["image", "kspace", "none"]
MapsName = Literal["centre", "espirit"]
# ESPIRiT's maps take a second and depend on the centre alone, which steps on one scan share
_REMEMBERED = 32


@dataclass(frozen=True)
class Preparation:
    """How a slice is prepared; training and prediction must agree on all of it.

    Args:
        centred: Where the origin of k-space lies; see `fft2`.
        sigma: Width of the Gaussian of the sensitivity estimate; None leaves it out.
        scaling: What is divided by: the percentile of the zero-filled image, which does not
            depend on the size of the matrix, or of masked k-space as DIRECT does.
        percentile: Of the magnitudes, as a part of one.
        maps: Sensitivities from the images of the centre, as published, or ESPIRiT's, which
            explain the samples better and take a second a slice (sigpy, extra `mri`).
        padding: Samples below this part of the mean magnitude were never acquired; 0 turns the
            search off.
    """

    centred: bool = True
    sigma: float | None = GAUSSIAN_SIGMA
    scaling: ScalingName = "image"
    percentile: float = 0.99
    padding: float = 0.001
    maps: MapsName = "centre"


@dataclass(frozen=True)
class Prepared:
    """A slice as the network is given it.

    Args:
        masked: Measured k-space, scaled.
        mask: True where it was measured.
        acs: True in its fully sampled centre.
        maps: Sensitivities from that centre.
        scale: What k-space was divided by.
        padding: True where nothing was ever acquired.
        target: Root of the sum of squares of the whole k-space, scaled; None where it is not known.

    Shape:
        masked, maps: (coil, H, W, 2), mask, acs: (1, H, W, 1), scale: (), padding, target: (H, W).
    """

    masked: Tensor
    mask: Tensor
    acs: Tensor
    maps: Tensor
    scale: Tensor
    padding: Tensor
    target: Tensor | None


def prepare(
    kspace: Tensor, draw: Callable[[Tensor], Mask], settings: Preparation, known: bool = True
) -> Prepared:
    """Prepare one slice.

    Args:
        kspace: Whole, or already undersampled.
        draw: From the padding to a mask.
        settings: How.
        known: Whether `kspace` is whole, so that the image is known.

    Raises:
        BadDataError: Nothing but zeros was measured, or the mask has no centre.

    Shape:
        kspace: (coil, H, W, 2).

    Source:
        RECON section 3, steps 3 to 10.
    """
    padding = find_padding(kspace, settings.padding if known else 0.0)
    kspace = kspace * ~padding[None, :, :, None]
    drawn = draw(padding)
    mask, acs = (each[None, :, :, None] for each in (drawn.sampled, drawn.acs))
    if not bool(acs.any()):
        raise BadDataError(
            "the mask has no fully sampled centre, from which the coils' sensitivities are "
            "measured. Acquire or draw one, or give maps of your own."
        )
    maps = sensitivities(kspace, acs, settings)
    masked = torch.where(mask, kspace, torch.zeros((), dtype=kspace.dtype))
    scale = scale_of(masked, settings)
    if not float(scale) > 0:
        raise BadDataError("k-space is zero wherever it was measured; nothing to reconstruct.")
    target = rss(ifft2(kspace / scale, settings.centred), 0) if known else None
    return Prepared(masked / scale, mask, acs, maps, scale, padding, target)


def find_padding(kspace: Tensor, part: float) -> Tensor:
    """True where the coils' summed magnitude is below a part of its mean.

    Shape:
        kspace: (coil, H, W, 2), result (H, W).
    """
    strength = magnitude(kspace).sum(0)
    return strength < strength.mean() * part


def sensitivities(kspace: Tensor, acs: Tensor, settings: Preparation) -> Tensor:
    """Maps from the centre; a single coil sees everything alike.

    Shape:
        kspace: (coil, H, W, 2), acs: (1, H, W, 1), result as `kspace`.
    """
    if kspace.shape[0] == 1:
        return torch.stack((torch.ones_like(kspace[..., 0]), torch.zeros_like(kspace[..., 0])), -1)
    if settings.maps == "espirit":
        centre = torch.view_as_complex((kspace * acs).contiguous()).numpy()
        taken = acs[0, :, :, 0].contiguous().numpy()
        found = _espirit(centre.tobytes(), taken.tobytes(), centre.shape, settings.centred)
        return torch.view_as_real(torch.from_numpy(found))
    return estimate_maps(kspace, acs, settings.centred, settings.sigma, coil_axis=0)


@lru_cache(maxsize=_REMEMBERED)
def _espirit(centre: bytes, acs: bytes, shape: tuple[int, ...], centred: bool) -> np.ndarray:
    samples = np.frombuffer(centre, np.complex64).reshape(shape)
    taken = np.frombuffer(acs, bool).reshape(shape[1:])
    return np.asarray(espirit_maps(samples, taken, centred=centred), dtype=np.complex64)


def scale_of(masked: Tensor, settings: Preparation) -> Tensor:
    """The number that k-space is divided by.

    Shape:
        masked: (coil, H, W, 2), result ().
    """
    if settings.scaling == "none":
        return masked.new_ones(())
    values = (
        magnitude(masked)
        if settings.scaling == "kspace"
        else rss(ifft2(masked, settings.centred), 0)
    ).flatten()
    return values.topk(int((1 - settings.percentile) * values.numel()) + 1).values[-1]
