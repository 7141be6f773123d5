"""One tile of a slide at an exact physical size, whatever the levels of its pyramid."""

import numpy as np
from PIL import Image

from medssm.data.slides.slide import Slide

# pixels around a tile, so that its border is interpolated from what is there
_MARGIN_PX = 2
# sizes of levels are rounded, so a downsample of 2 is written as 2.0005
_SAME = 1e-3


def read_tile(
    slide: Slide, corner: tuple[float, float], size_level0: float, size_px: int
) -> np.ndarray:
    """Read a square and bring it to a number of pixels, borders exact to a part of a pixel.

    Args:
        slide: The slide.
        corner: Top left corner x, y in pixels of level 0.
        size_level0: Edge in pixels of level 0; it need not be whole.
        size_px: Edge of the result.

    Returns:
        RGB, uint8, (size_px, size_px, 3); white outside of the slide.

    Raises:
        UnreadableRegionError: It cannot be decoded.
    """
    level = slide.best_level(size_level0 / size_px)
    down = slide.downsamples[level]
    left, top = corner[0] / down[0], corner[1] / down[1]
    width, height = size_level0 / down[0], size_level0 / down[1]
    if max(abs(width - size_px), abs(height - size_px)) < _SAME * size_px and _whole(
        left, top, level
    ):
        return slide.region((round(left), round(top)), level, (size_px, size_px))
    x, y = int(np.floor(left)) - _MARGIN_PX, int(np.floor(top)) - _MARGIN_PX
    right, bottom = (int(np.ceil(left + width)), int(np.ceil(top + height)))
    pixels = slide.region((x, y), level, (right + _MARGIN_PX - x, bottom + _MARGIN_PX - y))
    box = (left - x, top - y, left - x + width, top - y + height)
    picture = Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.BICUBIC, box=box)
    return np.asarray(picture)


def _whole(left: float, top: float, level: int) -> bool:
    """Level-0 corners are whole; those of other levels fall between pixels by at most a half."""
    return level > 0 or (left == round(left) and top == round(top))
