"""Pictures and TIFF stacks: PNG, BMP, TIFF; a side-car JSON may give a TIFF its spacing."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import tifffile

from medssm.core.errors import BadDataError
from medssm.core.files import read_json
from medssm.data.readers.picture_end import check_end
from medssm.data.readers.size import check_count, check_memory
from medssm.data.volume import Header

_COPY = "copy the file again from its source, or export it again"
_COLOURS = (3, 4)
_TIFF = (".tif", ".tiff")


class PictureReader:
    """PNG, BMP, TIFF."""

    def header(self, path: Path) -> Header:
        """Shape and type; pictures carry no geometry of their own."""
        if path.stat().st_size == 0:
            raise BadDataError(f"{path}: the file is empty (0 bytes); {_COPY}.")
        try:
            if path.suffix.lower() in _TIFF:
                with tifffile.TiffFile(path) as file:
                    shape, dtype = file.series[0].shape, str(file.series[0].dtype)
            else:
                properties = imageio.improps(path)
                shape, dtype = properties.shape, str(properties.dtype)
        except Exception as error:
            raise BadDataError(f"{path}: not a readable picture ({error}); {_COPY}.") from error
        check_count(path, shape)
        samples = shape[-1] if len(shape) == 3 and shape[-1] in _COLOURS else 1
        spatial = shape[:-1] if samples > 1 else shape
        stored = tuple(int(size) for size in reversed(spatial))
        return Header(stored, _spacing(path, len(spatial)), None, dtype, samples)

    def array(self, path: Path) -> np.ndarray:
        """Read all pixels, (x, y[, z][, colour])."""
        header = self.header(path)
        check_end(path)
        check_memory(path, header.shape, np.dtype(header.dtype).itemsize * header.samples)
        try:
            pixels = (
                tifffile.imread(path)
                if path.suffix.lower() in _TIFF
                else np.asarray(imageio.imread(path))
            )
        except Exception as error:
            raise BadDataError(f"{path}: the pixels cannot be read ({error}); {_COPY}.") from error
        axes = len(header.shape)
        return pixels.transpose((*reversed(range(axes)), *range(axes, pixels.ndim)))


def _spacing(path: Path, axes: int) -> tuple[float, ...]:
    side_car = path.with_suffix(".json")
    stem = path.stem.rsplit("_", 1)[0]
    for file in (side_car, path.with_name(f"{stem}.json")):
        if path.suffix.lower() in _TIFF and file.is_file():
            spacing = read_json(file).get("spacing")
            if isinstance(spacing, list) and len(spacing) == axes:
                return tuple(float(each) for each in reversed(spacing))
    return (1.0,) * axes
