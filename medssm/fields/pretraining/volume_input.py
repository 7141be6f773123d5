"""Image files as a pre-training sees them: on canonical axes, in 0..1."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError, UsageError
from medssm.data.readers import ending_of, reader_of
from medssm.fields.pretraining.canonical import Frame, resample, to_canonical
from medssm.fields.pretraining.quality import looks_like_hu

_PERCENTILES = (0.5, 99.5)


def images_in(folder: Path) -> Iterator[Path]:
    """The image files of a folder.

    Raises:
        UsageError: It is not there.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such file or folder.")
    for file in folder.iterdir():
        if file.is_file() and not file.name.startswith(".") and ending_of(file) is not None:
            yield file


def name_of(file: Path) -> str:
    """The name of a file without its ending."""
    ending = ending_of(file)
    return file.name[: -len(ending)] if ending else file.stem


def read_scaled(
    file: Path, window_hu: tuple[float, float], spacing_mm: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels in 0..1 on the axes that training saw, windowed as there.

    Raises:
        BadDataError: The file is damaged or no volume.
    """
    reader = reader_of(file)
    affine: Any = reader.header(file).affine
    voxels = reader.array(file)
    if affine is None or voxels.ndim != 3:
        raise BadDataError(
            f"{file}: found shape {voxels.shape}, expected a volume with three axes and a place "
            "in the patient."
        )
    frame = to_canonical(Frame(voxels.astype(np.float32), np.asarray(affine, dtype=float)))
    is_hu = looks_like_hu(frame.voxels)
    if spacing_mm is not None:
        frame = resample(frame, spacing_mm)
    low, high = window_hu if is_hu else np.percentile(frame.voxels, _PERCENTILES)
    scaled = (frame.voxels - low) / max(float(high - low), 1e-6)
    return np.clip(scaled, 0, 1).astype(np.float32), frame.affine
