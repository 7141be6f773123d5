"""NIfTI, read to its last byte: nothing cut off is ever taken for whole."""

import gzip
import zlib
from pathlib import Path

import nibabel
import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.readers.size import check_count, check_memory
from medssm.data.volume import Header

# bytes that may follow the voxels; a bomb hides behind a small header
_MAX_REST = 1 << 20
_PIECE = 1 << 20
_COPY = "copy the file again from its source, or export it again"


class NiftiReader:
    """NIfTI-1 and NIfTI-2, plain or gzip, either byte order."""

    def header(self, path: Path) -> Header:
        """Read and check the header."""
        image = _open(path)
        head = image.header
        shape = tuple(int(size) for size in image.shape)
        if not shape or min(shape) < 1:
            raise BadDataError(f"{path}: the header claims shape {shape}; {_COPY}.")
        check_count(path, shape)
        dtype = head.get_data_dtype()
        samples = len(dtype.names) if dtype.names else 1
        spacing = tuple(float(each) for each in head.get_zooms())
        affine = np.asarray(image.affine, dtype=np.float64)
        _check_geometry(path, spacing[:3], affine)
        return Header(shape, spacing, affine, str(dtype), samples, _oddities(head))

    def array(self, path: Path) -> np.ndarray:
        """Read all voxels after the stream was checked to its end."""
        header = self.header(path)
        # before the stream: a cut file with a large claim is answered at once
        check_memory(path, header.shape, np.dtype(_open(path).get_data_dtype()).itemsize)
        check_stream(path, header)
        try:
            return np.asarray(_open(path).dataobj)
        except Exception as error:
            raise BadDataError(f"{path}: the voxels cannot be read ({error}); {_COPY}.") from error


def _open(path: Path) -> nibabel.Nifti1Image:
    if path.stat().st_size == 0:
        raise BadDataError(f"{path}: the file is empty (0 bytes); {_COPY}.")
    try:
        image = nibabel.load(path)
    except Exception as error:
        raise BadDataError(f"{path}: not a readable NIfTI file ({error}); {_COPY}.") from error
    if not isinstance(image, nibabel.Nifti1Image | nibabel.Nifti2Image | nibabel.Nifti1Pair):
        raise BadDataError(f"{path}: holds {type(image).__name__}. Expected NIfTI.")
    return image


def check_stream(path: Path, header: Header) -> None:
    """Stream a file to its end, checksum included, and compare its length with the header's claim.

    Nothing is allocated for the voxels, so that a header that lies costs no memory.

    Raises:
        BadDataError: Cut off, wrong checksum, longer or shorter than claimed.
    """
    image = _open(path)
    offset = int(image.dataobj.offset) if hasattr(image.dataobj, "offset") else 352
    size = np.dtype(image.header.get_data_dtype()).itemsize
    expected = offset + int(np.prod(header.shape, dtype=np.int64)) * size
    found = _length(path, expected)
    if found < expected:
        raise BadDataError(
            f"{path}: cut off: {found:,} bytes unpacked. Expected {expected:,}; {_COPY}."
        )


def _length(path: Path, expected: int) -> int:
    if not path.name.endswith(".gz"):
        return path.stat().st_size
    length = 0
    limit = expected + _MAX_REST
    try:
        with gzip.open(path) as stream:
            while piece := stream.read(_PIECE):
                length += len(piece)
                if length > limit:
                    raise BadDataError(
                        f"{path}: unpacks to more than {limit:,} bytes. "
                        f"Expected {expected:,} by its header; {_COPY}."
                    )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadDataError(
            f"{path}: cut off or damaged after {length:,} unpacked bytes ({error}). "
            f"Expected {expected:,}; {_COPY}."
        ) from error
    return length


def _check_geometry(path: Path, spacing: tuple[float, ...], affine: np.ndarray) -> None:
    if not np.all(np.isfinite(spacing)) or min(spacing, default=1) <= 0:
        raise BadDataError(f"{path}: spacing {spacing} mm. Expected positive numbers; mend pixdim.")
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise BadDataError(
            f"{path}: the affine cannot be inverted. Expected three independent axes; mend the "
            "sform or convert the image again."
        )


def _oddities(head: nibabel.Nifti1Header) -> tuple[str, ...]:
    if int(head["qform_code"]) > 0 and int(head["sform_code"]) > 0:
        difference = np.abs(head.get_qform() - head.get_sform()).max()
        if difference > 1e-2:
            return (f"qform and sform differ by up to {difference:.3g}",)
    return ()
