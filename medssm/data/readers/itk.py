"""MetaImage and NRRD through SimpleITK, guarded against files that are cut off."""

import zlib
from pathlib import Path

import numpy as np
import SimpleITK

from medssm.core.errors import BadDataError
from medssm.data.readers.detached import image_io, refuse_voxels_elsewhere
from medssm.data.readers.size import check_count, check_memory
from medssm.data.volume import Header

# SimpleITK speaks LPS, NIfTI and we speak RAS
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_COPY = "copy the file again from its source, or export it again"


class ItkReader:
    """MHA, MHD and NRRD."""

    def header(self, path: Path) -> Header:
        """Read the header without voxels."""
        if path.stat().st_size == 0:
            raise BadDataError(f"{path}: the file is empty (0 bytes); {_COPY}.")
        refuse_voxels_elsewhere(path)
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO(image_io(path))
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise BadDataError(f"{path}: not readable ({_reason(error)}); {_COPY}.") from error
        dims = reader.GetDimension()
        check_count(path, reader.GetSize())
        spacing = np.array(reader.GetSpacing())
        if not np.all(np.isfinite(spacing)) or spacing.min() <= 0:
            raise BadDataError(f"{path}: spacing {tuple(spacing)} mm. Expected positive numbers.")
        affine = np.eye(4)
        direction = np.array(reader.GetDirection()).reshape(dims, dims)
        axes = min(3, dims)
        affine[:axes, :axes] = (direction * spacing)[:axes, :axes]
        affine[:axes, 3] = reader.GetOrigin()[:axes]
        dtype = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
        return Header(
            tuple(reader.GetSize()),
            tuple(float(each) for each in spacing),
            _LPS_TO_RAS @ affine,
            dtype,
            reader.GetNumberOfComponents(),
        )

    def array(self, path: Path) -> np.ndarray:
        """Read all voxels; the length is checked first, since SimpleITK fills a cut file up."""
        header = self.header(path)
        check_memory(path, header.shape, _voxel_bytes(header))
        _check_length(path, header)
        try:
            voxels = SimpleITK.GetArrayFromImage(
                SimpleITK.ReadImage(str(path), imageIO=image_io(path))
            )
        except RuntimeError as error:
            raise BadDataError(
                f"{path}: the voxels cannot be read ({_reason(error)}); {_COPY}."
            ) from error
        axes = len(header.shape)
        return voxels.transpose((*reversed(range(axes)), *range(axes, voxels.ndim)))


def _check_length(path: Path, header: Header) -> None:
    text, payload = _split(path)
    expected = int(np.prod(header.shape, dtype=np.int64)) * _voxel_bytes(header)
    if payload is None:
        return
    packed = "compresseddata = true" in text or "encoding: gz" in text
    found = _unpacked(path, payload, expected) if packed else len(payload)
    if found < expected:
        raise BadDataError(
            f"{path}: cut off: {found:,} bytes of voxels. Expected {expected:,}; {_COPY}."
        )


def _split(path: Path) -> tuple[str, bytes | None]:
    content = path.read_bytes()
    if path.suffix == ".nrrd":
        mark = content.find(b"\n\n")
        text = content[: max(mark, 0)].decode("latin-1").lower()
        detached = "data file:" in text or "datafile:" in text
        return text, None if mark < 0 or detached else content[mark + 2 :]
    mark = content.find(b"ElementDataFile")
    end = content.find(b"\n", mark)
    text = content[: max(end, 0)].decode("latin-1").lower()
    return text, content[end + 1 :] if text.rstrip().endswith("local") else None


def _unpacked(path: Path, payload: bytes, expected: int) -> int:
    # MetaImage packs with zlib, NRRD with gzip: 47 lets zlib tell them apart
    machine = zlib.decompressobj(47)
    length, limit = 0, 2 * expected + (1 << 20)
    try:
        for start in range(0, len(payload), 1 << 20):
            length += len(machine.decompress(payload[start : start + (1 << 20)]))
            if length > limit:
                break
    except zlib.error as error:
        raise BadDataError(f"{path}: damaged ({error}); {_COPY}.") from error
    if length <= limit and not machine.eof:
        raise BadDataError(f"{path}: cut off before the checksum; {_COPY}.")
    return length


def _voxel_bytes(header: Header) -> int:
    return np.dtype(_numpy_type(header.dtype)).itemsize * header.samples


def _numpy_type(name: str) -> str:
    words = name.lower().replace("vector of ", "")
    if "float" in words or "double" in words:
        return "float64" if "64" in words or "double" in words else "float32"
    bits = "".join(c for c in words if c.isdigit()) or "8"
    return f"{'u' if 'unsigned' in words else ''}int{bits}"


def _reason(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "unknown reason"
