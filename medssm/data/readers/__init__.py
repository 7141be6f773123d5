"""File formats of images: a header without pixels, pixels without surprises."""

from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.registry import Table
from medssm.data.volume import Header, Reader

# longest ending first: .nii.gz before .gz
READERS = Table(
    "image format",
    {
        ".nii.gz": "medssm.data.readers.nifti:NiftiReader",
        ".nii": "medssm.data.readers.nifti:NiftiReader",
        ".mha": "medssm.data.readers.itk:ItkReader",
        ".mhd": "medssm.data.readers.itk:ItkReader",
        ".nrrd": "medssm.data.readers.itk:ItkReader",
        ".png": "medssm.data.readers.picture:PictureReader",
        ".bmp": "medssm.data.readers.picture:PictureReader",
        ".tif": "medssm.data.readers.picture:PictureReader",
        ".tiff": "medssm.data.readers.picture:PictureReader",
        ".dcm": "medssm.data.readers.dicom:DicomReader",
    },
    "medssm.readers",
)


def ending_of(path: Path) -> str | None:
    """The ending of a file if it is an image format that we read."""
    name = path.name.lower()
    return next((ending for ending in sorted(READERS, key=len, reverse=True)
                 if name.endswith(ending)), None)  # fmt: skip


def reader_of(path: Path) -> Reader:
    """The reader of a file, by its ending.

    Raises:
        BadDataError: No such format.
    """
    ending = ending_of(path)
    if ending is None:
        raise BadDataError(
            f"{path}: not an image format that is read here. Expected one of {', '.join(READERS)}."
        )
    reader: Reader = READERS.build(ending)
    return reader


__all__ = ["READERS", "Header", "Reader", "ending_of", "reader_of"]
