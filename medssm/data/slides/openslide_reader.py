"""Slides through OpenSlide: SVS, TIFF, NDPI, MRXS, SCN, BIF, DICOM and more."""

from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.extras import require
from medssm.data.slides.slide import Scan, Size


class OpenSlideBackend:
    """A handle of OpenSlide.

    Args:
        path: The file.

    Raises:
        MachineError: openslide-python or openslide-bin is not installed.
    """

    def __init__(self, path: Path) -> None:
        openslide: Any = require("openslide", "pathology")
        self._slide = openslide.OpenSlide(str(path))
        facts = self._slide.properties
        mpp = _number(facts.get("openslide.mpp-x")), _number(facts.get("openslide.mpp-y"))
        self.scan = Scan(
            level_sizes=tuple((int(w), int(h)) for w, h in self._slide.level_dimensions),
            mpp=None if mpp[0] is None or mpp[1] is None else (mpp[0], mpp[1]),
            magnification=_number(facts.get("openslide.objective-power")),
            origin=(
                int(facts.get("openslide.bounds-x", 0)),
                int(facts.get("openslide.bounds-y", 0)),
            ),
        )

    def rgba(self, corner: Size, level: int, size: Size) -> np.ndarray:
        """Pixels (H, W, 4) of a region inside a level; its corner is given in level-0 pixels."""
        return np.asarray(self._slide.read_region(corner, level, size))

    def close(self) -> None:
        """Let the file go."""
        self._slide.close()


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
