"""An open slide: its levels, its resolution, and regions as RGB on white."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from medssm.core.errors import BadDataError

Size = tuple[int, int]


class UnreadableRegionError(BadDataError):
    """A part of a slide cannot be decoded; the rest of the slide may well be whole."""


@dataclass(frozen=True)
class Scan:
    """What a file says of a slide, without pixels.

    Args:
        level_sizes: Width and height of each level, the finest first.
        mpp: Micrometres a pixel of level 0 along x and y, or None.
        magnification: Of the objective, or None.
        origin: Where the scanned part begins, pixels of level 0; QuPath counts from there.
    """

    level_sizes: tuple[Size, ...]
    mpp: tuple[float, float] | None
    magnification: float | None
    origin: tuple[int, int] = (0, 0)


class Backend(Protocol):
    """What a reading package has to offer."""

    scan: Scan

    def rgba(self, corner: Size, level: int, size: Size) -> np.ndarray:
        """Pixels (H, W, 4) of a region inside a level; its corner is given in level-0 pixels."""

    def close(self) -> None:
        """Let the file go."""


class Slide:
    """A slide that gives RGB regions and survives errors inside the file.

    Args:
        path: The file.
        reader: Name of the package that reads it.
        make: Opens the file; called again after an error, since some packages refuse every
            later read of a handle once one has failed.
        degraded: Why the slide counts as damaged, or ""; of a damaged pyramid only the base is
            trusted.
    """

    def __init__(
        self, path: Path, reader: str, make: Callable[[Path], Backend], degraded: str = ""
    ) -> None:
        self.path, self.reader, self.degraded = path, reader, degraded
        self._make = make
        self._backend = make(path)
        self.scan = self._backend.scan
        if degraded:
            self.scan = replace(self.scan, level_sizes=self.scan.level_sizes[:1])

    @property
    def size(self) -> Size:
        """Width and height of level 0."""
        return self.scan.level_sizes[0]

    @property
    def downsamples(self) -> tuple[tuple[float, float], ...]:
        """Level-0 pixels a pixel of each level, along x and y."""
        width, height = self.size
        return tuple((width / w, height / h) for w, h in self.scan.level_sizes)

    def best_level(self, downsample: float, tolerance: float = 0.01) -> int:
        """The coarsest level that is no coarser than asked for, rounding of sizes forgiven."""
        fits = [
            level
            for level, (x, y) in enumerate(self.downsamples)
            if max(x, y) <= downsample * (1 + tolerance)
        ]
        return max(fits, default=0)

    def region(self, corner: Size, level: int, size: Size) -> np.ndarray:
        """Read a region; what lies outside of the slide or was not scanned is white.

        Args:
            corner: Its top left corner, pixels of the level (they may be negative).
            level: A level of the pyramid.
            size: Width and height, pixels of the level.

        Returns:
            RGB, uint8, (H, W, 3).

        Raises:
            UnreadableRegionError: It cannot be decoded, even after opening the file again.
        """
        white = np.full((size[1], size[0], 3), 255, dtype=np.uint8)
        bounds = self.scan.level_sizes[level]
        first = [max(0, at) for at in corner]
        last = [min(at + n, end) for at, n, end in zip(corner, size, bounds, strict=True)]
        if first[0] >= last[0] or first[1] >= last[1]:
            return white
        pixels = self._rgb((first[0], first[1]), level, (last[0] - first[0], last[1] - first[1]))
        left, top = first[0] - corner[0], first[1] - corner[1]
        white[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return white

    def _rgb(self, corner: Size, level: int, size: Size) -> np.ndarray:
        x, y = self.downsamples[level]
        # a hair more, so that the package's own rounding down lands on the pixel we mean
        at = (int(corner[0] * x + 0.5), int(corner[1] * y + 0.5)) if level else corner
        try:
            pixels = self._backend.rgba(at, level, size)
        except Exception:
            self._reopen()
            try:
                pixels = self._backend.rgba(at, level, size)
            except Exception as error:
                self._reopen()
                raise UnreadableRegionError(
                    f"{self.path}: the region at {at} of {size[0]} x {size[1]} pixels on level "
                    f"{level} cannot be decoded by {self.reader} ({error})."
                ) from None
        return _on_white(pixels)

    def _reopen(self) -> None:
        self._backend.close()
        self._backend = self._make(self.path)

    def another(self) -> "Slide":
        """The same slide opened once more, for another thread."""
        return Slide(self.path, self.reader, self._make, self.degraded)

    def close(self) -> None:
        """Let the file go."""
        self._backend.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Lay pixels over white by their alpha; where nothing was scanned OpenSlide gives black."""
    alpha = rgba[..., 3:4]
    if bool((alpha == 255).all()):
        return np.ascontiguousarray(rgba[..., :3])
    share = alpha.astype(np.float32) / 255
    return np.round(rgba[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
