"""Slides through tiffslide, in Python alone: it opens TIFF files that OpenSlide refuses."""

from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.extras import require
from medssm.data.slides.slide import Scan, Size


class TiffSlideBackend:
    """A handle of tiffslide.

    Args:
        path: The file.

    Raises:
        MachineError: tiffslide is not installed.
    """

    def __init__(self, path: Path) -> None:
        tiffslide: Any = require("tiffslide", "pathology")
        self._slide = tiffslide.TiffSlide(str(path))
        facts = self._slide.properties
        mpp = facts.get("tiffslide.mpp-x"), facts.get("tiffslide.mpp-y")
        power = facts.get("tiffslide.objective-power")
        self.scan = Scan(
            level_sizes=tuple((int(w), int(h)) for w, h in self._slide.level_dimensions),
            mpp=None if mpp[0] is None or mpp[1] is None else (float(mpp[0]), float(mpp[1])),
            magnification=None if power is None else float(power),
            origin=(
                int(facts.get("tiffslide.bounds-x") or 0),
                int(facts.get("tiffslide.bounds-y") or 0),
            ),
        )

    def rgba(self, corner: Size, level: int, size: Size) -> np.ndarray:
        """Pixels (H, W, 4) of a region inside a level; its corner is given in level-0 pixels."""
        pixels = np.asarray(self._slide.read_region(corner, level, size, as_array=True))
        pixels = np.broadcast_to(pixels[..., :3], (*pixels.shape[:2], 3))
        return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)

    def close(self) -> None:
        """Let the file go."""
        self._slide.close()
