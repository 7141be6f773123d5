"""A small picture of a whole slide, put together in blocks: level 0 may be huge."""

from dataclasses import dataclass

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.slides.slide import Size, Slide, UnreadableRegionError

_BLOCK_PX = 1024
_LEAST_BLOCK_PX = 128


@dataclass(frozen=True)
class Thumbnail:
    """A slide in small.

    Args:
        rgb: The picture, uint8.
        scale: Level-0 pixels a pixel of the picture, along x and y.
        unknown: Where the file could not be decoded.

    Shape:
        rgb: (H, W, 3); unknown: (H, W).
    """

    rgb: np.ndarray
    scale: tuple[float, float]
    unknown: np.ndarray


def thumbnail(slide: Slide, downsample: float) -> Thumbnail:
    """Average a slide down by a whole number of pixels of its best level.

    Args:
        slide: The slide.
        downsample: Level-0 pixels a pixel, about; the result's `scale` is exact.

    Raises:
        BadDataError: Not one block of the slide can be decoded.
    """
    level = slide.best_level(downsample)
    down = slide.downsamples[level]
    factor = max(1, int(downsample / max(down) + 0.5))
    size = slide.scan.level_sizes[level]
    shape = (-(-size[1] // factor), -(-size[0] // factor))
    rgb = np.full((*shape, 3), 255, dtype=np.uint8)
    unknown = np.zeros(shape, dtype=bool)
    block = max(1, _BLOCK_PX // factor)
    for top in range(0, shape[0], block):
        for left in range(0, shape[1], block):
            area = (left, top, min(block, shape[1] - left), min(block, shape[0] - top))
            _fill(slide, level, factor, area, rgb, unknown)
    if unknown.all():
        raise BadDataError(
            f"{slide.path}: the file opens, but no pixel of level {level} can be decoded "
            f"({slide.reader}; {slide.path.stat().st_size} bytes). Is it truncated or encrypted? "
            "Copy it again from its source."
        )
    return Thumbnail(rgb, (down[0] * factor, down[1] * factor), unknown)


def _fill(
    slide: Slide,
    level: int,
    factor: int,
    area: tuple[int, int, int, int],
    rgb: np.ndarray,
    unknown: np.ndarray,
) -> None:
    """Average one block; a block that cannot be decoded is tried again in quarters."""
    left, top, width, height = area
    here = (slice(top, top + height), slice(left, left + width))
    try:
        pixels = slide.region(
            (left * factor, top * factor), level, (width * factor, height * factor)
        )
    except UnreadableRegionError:
        if max(width, height) * factor <= _LEAST_BLOCK_PX or max(width, height) == 1:
            unknown[here] = True
            return
        for part in _quarters(area):
            _fill(slide, level, factor, part, rgb, unknown)
        return
    rgb[here] = _average(pixels, factor, _inside(slide.scan.level_sizes[level], factor, area))


def _inside(size: Size, factor: int, area: tuple[int, int, int, int]) -> Size:
    """How many columns and rows of a block lie on the slide."""
    return (
        min(area[2] * factor, size[0] - area[0] * factor),
        min(area[3] * factor, size[1] - area[1] * factor),
    )


def _average(pixels: np.ndarray, factor: int, inside: Size) -> np.ndarray:
    """Mean over squares; on the far borders over the pixels that are there."""
    pixels = pixels[: inside[1], : inside[0]].astype(np.float32)
    starts = [np.arange(0, n, factor) for n in pixels.shape[:2]]
    total = np.add.reduceat(np.add.reduceat(pixels, starts[0], axis=0), starts[1], axis=1)
    counts = [np.diff(np.append(at, n)) for at, n in zip(starts, pixels.shape[:2], strict=True)]
    return np.round(total / (counts[0][:, None] * counts[1])[..., None]).astype(np.uint8)


def _quarters(area: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    left, top, width, height = area
    w, h = max(1, width // 2), max(1, height // 2)
    parts = [
        (left, top, w, h),
        (left + w, top, width - w, h),
        (left, top + h, w, height - h),
        (left + w, top + h, width - w, height - h),
    ]
    return [part for part in parts if part[2] > 0 and part[3] > 0]
