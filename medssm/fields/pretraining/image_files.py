"""NIfTI, MetaImage and NRRD of an archive: header facts at the scan, voxels and affine later."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.file_kinds import FileKind
from medssm.data.readers.itk import ItkReader
from medssm.data.readers.nifti import NiftiReader
from medssm.data.reasons import Flag, Reason
from medssm.fields.pretraining.places import Place, staged


class NotAVolumeError(BadDataError):
    """The file is whole, and no volume to learn from."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image file says.

    Args:
        shape: As stored, all axes.
        spacing_mm: Along the first three axes.
        dtype: Of a voxel.
        samples: Values a voxel.
        flags: Oddities.
        suffix: The ending by which readers know the format.
        parts: Files beside it that hold its voxels.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    dtype: str
    samples: int
    flags: tuple[str, ...]
    suffix: str
    parts: tuple[str, ...] = ()


def reader_for(kind: FileKind) -> NiftiReader | ItkReader:
    """The reader of a kind of image file."""
    return NiftiReader() if kind == "nifti" else ItkReader()


def read_image_header(source: Path, place: Place, kind: FileKind, suffix: str) -> ImageHeader:
    """Read a header; voxels are not touched.

    Raises:
        BadDataError: The header is damaged.
        NotAVolumeError: It is whole, and says that this is no volume.
    """
    parts = _parts(source, place, suffix)
    with staged(source, place, suffix) as path:
        header = reader_for(kind).header(path)
        flags = [str(Flag.QFORM_SFORM)] if header.warnings else []
        if kind == "nifti" and _spacing_is_unset(path):
            flags.append(str(Flag.SPACING_UNSET))
    if header.samples != 1:
        raise NotAVolumeError(Reason.COLOUR, f"{header.samples} values a voxel")
    shape = header.shape
    real = [size for size in shape[3:] if size != 1]
    if len(shape) < 3 or real or min(shape[:3]) < 2:
        raise NotAVolumeError(Reason.NOT_A_VOLUME, "x".join(map(str, shape)))
    return ImageHeader(
        shape, header.spacing_mm[:3], header.dtype, header.samples, tuple(flags), suffix, parts
    )


def read_image(
    source: Path, place: Place, kind: FileKind, header: ImageHeader
) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of an image file, read to its last byte.

    Returns:
        float32 or integer voxels (x, y, z), and the affine to RAS in mm.

    Raises:
        BadDataError: Cut off or damaged.
    """
    for part in header.parts:
        _check_part(source / place.path, part, header)
    with staged(source, place, header.suffix) as path:
        reader = reader_for(kind)
        affine = reader.header(path).affine
        voxels = reader.array(path)
    assert affine is not None
    return voxels.reshape(voxels.shape[:3]), np.asarray(affine, dtype=float)


def _spacing_is_unset(path: Path) -> bool:
    """Whether a NIfTI header leaves its spacing at a default, as converters do that know none.

    Raises:
        NotAVolumeError: A spacing of 0 and no matrix that would say it better.
    """
    opener = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rb") as stream:
        # nibabel would put 1 for 0 without a word
        raw = stream.read(nibabel.Nifti2Header.sizeof_hdr)
    head_class = (
        nibabel.Nifti1Header
        if len(raw) < 540 or raw[344:346] in (b"n+", b"ni")
        else (nibabel.Nifti2Header)
    )
    head = head_class(raw[: head_class.sizeof_hdr], check=False)
    spacing = np.abs(head["pixdim"][1:4])
    silent = int(head["qform_code"]) == 0 and int(head["sform_code"]) == 0
    if (spacing == 0).any() and int(head["sform_code"]) == 0:
        raise NotAVolumeError(Reason.NO_GEOMETRY, "a spacing of 0 and no sform")
    return bool((spacing == 0).any() or (silent and np.allclose(spacing, 1.0)))


def _parts(source: Path, place: Place, suffix: str) -> tuple[str, ...]:
    """Files beside a header: MetaImage's raw, a detached NRRD's data, NIfTI's .img."""
    if suffix == ".hdr":
        named = [Path(place.file_name).with_suffix(".img").name]
    elif suffix in (".mhd", ".nhdr", ".mha", ".nrrd") and not place.member:
        named = _named_in(source / place.path)
    else:
        named = []
    if (named and place.member) or (suffix in (".mhd", ".nhdr") and place.member):
        raise NotAVolumeError(Reason.UNREADABLE, "voxels in another file of a zip; unpack it")
    for name in named:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise NotAVolumeError(Reason.ARCHIVE_UNSAFE, "voxels in a file outside of its folder")
    return tuple(named)


def _named_in(path: Path) -> list[str]:
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    lines = head.split(b"\n\n")[0] if head.startswith(b"NRRD") else head
    for line in lines.splitlines():
        for mark in (b"ElementDataFile", b"data file", b"datafile"):
            if line.lower().startswith(mark.lower()):
                value = line.partition(b"=" if mark == b"ElementDataFile" else b":")[2]
                name = value.strip().decode("latin-1")
                return [] if name.upper() == "LOCAL" else [name]
    return []


def _check_part(header_file: Path, part: str, header: ImageHeader) -> None:
    """SimpleITK fills up what a cut raw file lacks, so its length is looked at first."""
    file = header_file.parent / part
    if not file.is_file():
        raise BadDataError(f"{part}: the file with the voxels is not there.")
    if part.endswith((".gz", ".zraw")):
        return
    bits = "".join(each for each in header.dtype if each.isdigit()) or "8"
    size = 8 if "double" in header.dtype else int(bits) // 8
    expected = int(np.prod(header.shape)) * size
    if file.stat().st_size < expected:
        raise BadDataError(
            f"{part}: cut off: {file.stat().st_size:,} bytes. Expected {expected:,}."
        )
