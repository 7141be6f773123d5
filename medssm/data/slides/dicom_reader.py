"""DICOM slides through wsidicom: all instances of a series, the levels in files of their own."""

from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.data.slides.slide import Scan, Size


def series_of(path: Path) -> tuple[str, list[Path]]:
    """The series that a DICOM file belongs to, and all of its files in the same folder.

    Raises:
        BadDataError: It is no DICOM file.
        MachineError: pydicom is not installed.
    """
    uid = series_uid(path)
    beside = sorted(path.parent.glob("*.dcm"))
    return uid, [file for file in beside if file == path or _uid_or_none(file) == uid]


def series_uid(path: Path) -> str:
    """The series instance UID of a DICOM file.

    Raises:
        BadDataError: It is no DICOM file, or has none.
        MachineError: pydicom is not installed.
    """
    pydicom: Any = require("pydicom", "pathology")
    try:
        content = pydicom.dcmread(path, stop_before_pixels=True)
        return str(content.SeriesInstanceUID)
    except Exception as error:
        raise BadDataError(
            f"{path}: not readable as DICOM ({error}; {path.stat().st_size} bytes). Expected an "
            "instance of a VL Whole Slide Microscopy series; copy it again."
        ) from None


def _uid_or_none(path: Path) -> str | None:
    try:
        return series_uid(path)
    except BadDataError:
        return None


class WsiDicomBackend:
    """A handle of wsidicom.

    Args:
        path: One instance of the series; the others are found beside it.

    Raises:
        MachineError: wsidicom is not installed.
        BadDataError: The file is no DICOM.
    """

    def __init__(self, path: Path) -> None:
        wsidicom: Any = require("wsidicom", "pathology")
        self._slide = wsidicom.WsiDicom.open([str(file) for file in series_of(path)[1]])
        # wsidicom numbers levels by their scale: 0, 1, 2, ..., with gaps
        self._levels = [int(level.level) for level in self._slide.levels]
        self.scan = Scan(
            level_sizes=tuple(
                (int(level.size.width), int(level.size.height)) for level in self._slide.levels
            ),
            mpp=_mpp(self._slide.levels[0]),
            magnification=None,
        )

    def rgba(self, corner: Size, level: int, size: Size) -> np.ndarray:
        """Pixels (H, W, 4) of a region inside a level; its corner is given in level-0 pixels."""
        width, height = self.scan.level_sizes[0]
        here = self.scan.level_sizes[level]
        at = (int(corner[0] * here[0] / width + 0.5), int(corner[1] * here[1] / height + 0.5))
        picture = self._slide.read_region(at, self._levels[level], size)
        return np.asarray(picture.convert("RGBA"))

    def close(self) -> None:
        """Let the files go."""
        self._slide.close()


def _mpp(level: Any) -> tuple[float, float] | None:
    """Micrometres a pixel; wsidicom raises where a file does not tell."""
    try:
        return float(level.mpp.width), float(level.mpp.height)
    except Exception:
        return None
