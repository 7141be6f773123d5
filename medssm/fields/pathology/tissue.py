"""Where tissue is on a slide, with a guard: glass without tissue has no threshold to find."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from medssm.core.errors import UsageError
from medssm.data.slides import Slide, Thumbnail, thumbnail

# darker than this and hardly coloured: pen, the edge of a cover slip, a fold of the scanner
_BLACK_VALUE, _GREY_SPREAD = 60, 12
_BLUR_PX = 1.0
# CLAM's defaults: level near this downsample, median blur, threshold, closing
CLAM_DOWNSAMPLE = 64.0
_CLAM_BLUR, _CLAM_THRESHOLD, _CLAM_CLOSE = 7, 8, 4
# beyond this many pixels CLAM gives up; here the picture is averaged down
_CLAM_MOST_PIXELS = 1e8


@dataclass(frozen=True)
class TissueConfig:
    """How tissue is told from glass.

    Args:
        method: "otsu" with the guard, "clam" as CLAM does it (a fixed threshold), or "auto": CLAM's
            for CLAM's tiles, else Otsu's.
        mpp: Of the picture that is looked at, micrometres a pixel (otsu).
        floor: Saturation (0 to 255) below which nothing is tissue (otsu).
        separation: How much more saturated tissue has to be than glass (otsu).
        least_area_mm2: Smaller pieces are dust; smaller holes are closed (otsu).
    """

    method: Literal["auto", "otsu", "clam"] = "auto"
    mpp: float = 8.0
    floor: float = 20.0
    separation: float = 15.0
    least_area_mm2: float = 0.01

    def __post_init__(self) -> None:
        for name in ("mpp", "separation"):
            if getattr(self, name) <= 0:
                raise UsageError(
                    f"preprocess.tissue.{name}={getattr(self, name)}; expected above 0."
                )


@dataclass(frozen=True)
class TissueMask:
    """Tissue in a small picture of a slide.

    Args:
        mask: True where tissue is, or where the file cannot be decoded and tissue may be.
        scale: Level-0 pixels a pixel of the mask, along x and y.
        threshold: The saturation that divides, or None where there was nothing to divide.
        reason: Why there is no tissue, or "".

    Shape:
        mask: (H, W).
    """

    mask: np.ndarray
    scale: tuple[float, float]
    threshold: float | None
    reason: str = ""

    @property
    def share(self) -> float:
        """Of the slide that is tissue."""
        return float(self.mask.mean())


def find_tissue(slide: Slide, mpp: float, config: TissueConfig) -> TissueMask:
    """Tell tissue from glass.

    Args:
        slide: The slide.
        mpp: Of level 0, micrometres a pixel.
        config: How.

    Raises:
        BadDataError: No pixel of the slide can be decoded.
    """
    if config.method == "clam":
        down = max(slide.downsamples[slide.best_level(CLAM_DOWNSAMPLE, 0.0)])
        while slide.size[0] * slide.size[1] / down**2 > _CLAM_MOST_PIXELS:
            down *= 2
        picture = thumbnail(slide, down)
        mask = clam_mask(picture.rgb) | picture.unknown
        return TissueMask(mask, picture.scale, _CLAM_THRESHOLD, "" if mask.any() else "no tissue")
    picture = thumbnail(slide, max(1.0, config.mpp / mpp))
    return _guarded_otsu(picture, mpp, config)


def _guarded_otsu(picture: Thumbnail, mpp: float, config: TissueConfig) -> TissueMask:
    saturation = ndimage.gaussian_filter(_saturation(picture.rgb), _BLUR_PX)
    threshold, reason = trusted_threshold(saturation[~picture.unknown], config)
    mask = np.zeros(saturation.shape, bool) if threshold is None else saturation > threshold
    area_px = config.least_area_mm2 * 1e6 / (mpp**2 * picture.scale[0] * picture.scale[1])
    mask = _without_specks(mask, area_px)
    if not reason and not mask.any():
        reason = f"every piece of tissue is smaller than {config.least_area_mm2:g} mm2"
    mask |= picture.unknown
    return TissueMask(mask, picture.scale, threshold, "" if mask.any() else reason)


def trusted_threshold(saturation: np.ndarray, config: TissueConfig) -> tuple[float | None, str]:
    """Otsu's threshold where two classes are there to divide.

    Otsu's criterion divides noise on blank glass as gladly as tissue from glass, and has no answer
    for a constant picture. So the darker class has to be coloured at all, and set off from glass.

    Args:
        saturation: Of pixels, 0 to 255.
        config: The floor and the separation.

    Returns:
        The threshold and "", or None and why there is no tissue. Where the slide is tissue all
        over, the floor is the threshold.

    Source:
        Otsu (1979), eq. 12; the guard is ours.
    """
    values = np.clip(np.round(saturation), 0, 255).astype(np.int64)
    counts = np.bincount(values, minlength=256).astype(np.float64)
    levels = np.arange(256)
    below, total = np.cumsum(counts), counts.sum()
    sums = np.cumsum(counts * levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / below, (sums[-1] - sums) / (total - below)
        between = below * (total - below) * (means[1] - means[0]) ** 2
    if total == 0 or not np.isfinite(between).any():
        mean = float(sums[-1] / total) if total else 0.0
        if mean > config.floor + config.separation:
            return config.floor, ""
        return None, f"the picture is uniform, saturation {mean:.0f} of 255"
    best = int(np.nanargmax(np.where(np.isfinite(between), between, -1)))
    glass, tissue = float(means[0][best]), float(means[1][best])
    if tissue < config.floor:
        return None, f"the most coloured part has saturation {tissue:.0f}, below {config.floor:g}"
    if glass > config.floor + config.separation:
        return config.floor, ""
    if tissue - glass < config.separation:
        return None, (
            f"nothing stands out from the glass (saturation {tissue:.0f} against {glass:.0f}, "
            f"expected {config.separation:g} more)"
        )
    return max(float(best), config.floor), ""


def _saturation(rgb: np.ndarray) -> np.ndarray:
    """Saturation 0 to 255 of a smoothed picture; pen and black borders count as glass."""
    smooth = ndimage.gaussian_filter(rgb.astype(np.float32), (_BLUR_PX, _BLUR_PX, 0))
    value = smooth.max(axis=2)
    spread = value - smooth.min(axis=2)
    saturation = 255 * spread / np.maximum(value, 1)
    saturation[(value < _BLACK_VALUE) & (spread < _GREY_SPREAD)] = 0
    return np.asarray(saturation)


def _without_specks(mask: np.ndarray, area_px: float) -> np.ndarray:
    for value in (True, False):
        labels, count = ndimage.label(mask == value)
        if count:
            sizes = np.bincount(labels.ravel())
            small = sizes < area_px
            # background of the labelling; the outer glass is never a hole by its size
            small[0] = False
            mask = np.where(small[labels], not value, mask)
    return mask


def clam_mask(rgb: np.ndarray) -> np.ndarray:
    """Tissue as CLAM sees it: saturation in 8 bits, median blur 7, above 8, closing 4.

    Source:
        Lu et al., 2021 (CLAM), segmentation with its default settings.
    """
    blurred = ndimage.median_filter(_saturation_8bit(rgb), size=_CLAM_BLUR, mode="nearest")
    tissue = blurred > _CLAM_THRESHOLD
    square = np.ones((_CLAM_CLOSE, _CLAM_CLOSE), dtype=bool)
    # both passes look two pixels back and one ahead, which is how an even square lies there
    grown = ndimage.binary_dilation(tissue, square, origin=-1)
    return np.asarray(ndimage.binary_erosion(grown, square, border_value=1))


def _saturation_8bit(rgb: np.ndarray) -> np.ndarray:
    """Saturation in the fixed-point arithmetic of 8-bit HSV: 12 binary places, rounded."""
    value = rgb.max(axis=2).astype(np.int64)
    spread = value - rgb.min(axis=2)
    table = np.zeros(256, dtype=np.int64)
    table[1:] = np.round((255 << 12) / np.arange(1, 256))
    return np.asarray((spread * table[value] + (1 << 11)) >> 12).astype(np.uint8)
