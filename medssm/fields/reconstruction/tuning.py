"""Baselines at their best: options chosen by a score, a reference's (oracle) or withheld samples'.

An oracle knows the answer, so its figures are a bound for a method and not what a user would get;
reports call them so. Where there is no reference, samples that were held back choose.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medssm.core.errors import BadArgumentError
from medssm.core.log import detail
from medssm.fields.reconstruction.baselines import DEFAULT_GRIDS, espirit_maps, reconstruct
from medssm.fields.reconstruction.reference_images import centre_crop
from medssm.metrics.reconstruction import fastmri


@dataclass(frozen=True)
class Tuned:
    """The best of a grid.

    Args:
        image: Its reconstruction, (H, W) complex64.
        options: What gave it.
        score: Its score; higher is better.
    """

    image: np.ndarray
    options: Mapping[str, Any]
    score: float


def tune(
    name: str,
    kspace: np.ndarray,
    mask: np.ndarray,
    score: Callable[[np.ndarray], float],
    *,
    maps: np.ndarray | None = None,
    acs: np.ndarray | None = None,
    centred: bool = True,
    grid: Sequence[Mapping[str, Any]] | None = None,
) -> Tuned:
    """Reconstruct with every choice of options and keep the best.

    Args:
        name: A row of `BASELINES`.
        kspace: Samples, (C, H, W).
        mask: What was acquired, (H, W).
        score: Of an image (H, W); higher is better.
        maps: Coil sensitivities; estimated once where None.
        acs: The fully sampled centre.
        centred: Whether the image comes by the centred transform.
        grid: Options to try; None takes `DEFAULT_GRIDS`.
    """
    choices = DEFAULT_GRIDS[name] if grid is None else grid
    if not choices:
        raise BadArgumentError(f"no options to try for {name}.")
    if maps is None and name != "zero_filled":
        maps = espirit_maps(kspace, mask if acs is None else acs, centred=centred)
    best: Tuned | None = None
    for options in choices:
        image = reconstruct(name, kspace, mask, maps, centred=centred, **options)
        value = score(image)
        detail("%s %s: %.4f", name, dict(options), value)
        if best is None or value > best.score:
            best = Tuned(image, options, value)
    assert best is not None
    return best


def against_reference(reference: np.ndarray, figure: str = "psnr") -> Callable[[np.ndarray], float]:
    """An oracle's score: fastMRI's PSNR or SSIM of the magnitude, cropped as the reference is.

    Args:
        reference: The true magnitude, (h, w).
        figure: "psnr" or "ssim".

    Raises:
        BadArgumentError: Another figure.
    """
    if figure not in ("psnr", "ssim"):
        raise BadArgumentError(f"figure {figure!r}: expected psnr or ssim.")

    def score(image: np.ndarray) -> float:
        magnitude = centre_crop(np.abs(image), reference.shape)
        return fastmri(reference[None], magnitude[None]).volume[figure]

    return score


def against_withheld(
    kspace: np.ndarray, maps: np.ndarray, withheld: np.ndarray, *, centred: bool = True
) -> Callable[[np.ndarray], float]:
    """Less the error on samples that were held back."""
    return lambda image: -withheld_error(image, maps, kspace, withheld, centred=centred)


def withheld_error(
    image: np.ndarray,
    maps: np.ndarray,
    kspace: np.ndarray,
    withheld: np.ndarray,
    *,
    centred: bool = True,
) -> float:
    """Relative error ||predicted - measured|| / ||measured|| over withheld samples of all coils.

    Args:
        image: A combined image.
        maps: Coil sensitivities that it belongs to.
        kspace: What was measured.
        withheld: Where to compare.
        centred: Whether the image comes by the centred transform.

    Shape:
        image: (H, W) complex; maps, kspace: (C, H, W); withheld: (H, W) boolean.
    """
    axes = (-2, -1)
    coil_images = maps * image
    if centred:
        shifted = np.fft.ifftshift(coil_images, axes=axes)
        predicted = np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=axes)
    else:
        predicted = np.fft.fft2(coil_images, norm="ortho")
    measured = kspace[:, withheld]
    norm = float(np.linalg.norm(measured))
    if norm == 0:
        raise BadArgumentError("no withheld samples; take a larger share.")
    return float(np.linalg.norm(predicted[:, withheld] - measured)) / norm
