"""Open a slide with the package that can, and say what is wrong where none can."""

import logging
from pathlib import Path
from typing import Any

import tifffile

from medssm.core.errors import BadDataError, MachineError
from medssm.core.log import warn
from medssm.core.registry import Table
from medssm.data.slides.slide import Slide

READERS = Table(
    "slide reader",
    {
        "openslide": "medssm.data.slides.openslide_reader:OpenSlideBackend",
        "tiffslide": "medssm.data.slides.tiffslide_reader:TiffSlideBackend",
        "wsidicom": "medssm.data.slides.dicom_reader:WsiDicomBackend",
    },
    "medssm.slide_readers",
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# of a file that is cut off, tifffile says at every tile which page is missing; we say it once
_REPEATED = ("invalid page offset", "invalid offset to first page")
logging.getLogger("tifffile").addFilter(
    lambda record: not any(words in record.getMessage() for words in _REPEATED)
)
_COPY = "copy the file again from its source"


def open_slide(path: Path, reader: str = "auto") -> Slide:
    """Open a slide.

    Args:
        path: The file; of a DICOM series any instance.
        reader: A row of `READERS`; "auto" takes OpenSlide, and where it refuses tiffslide (TIFF,
            with a warning) or wsidicom (DICOM).

    Raises:
        BadDataError: Missing, empty, cut off, or no slide.
        MachineError: No package is installed that could.
        UsageError: No such reader.
    """
    path = Path(path)
    if not path.is_file():
        raise BadDataError(f"{path}: there is no such file.")
    size = path.stat().st_size
    if size == 0:
        raise BadDataError(f"{path}: the file is empty (0 bytes); {_COPY}.")
    if reader != "auto":
        maker = READERS.load(reader)
        try:
            return Slide(path, reader, maker)
        except MachineError:
            raise
        except Exception as error:
            raise BadDataError(
                f"{path}: {reader} cannot open it ({error}; {size} bytes)."
            ) from None
    try:
        return _first_that_can(path, size)
    except OSError as error:
        raise BadDataError(
            f"{path}: cannot be read ({error.strerror or error}). Check the rights of the file "
            "and whether its disk is there."
        ) from None


def _first_that_can(path: Path, size: int) -> Slide:
    kind = _kind(path)
    refused: list[str] = []
    lacking: list[MachineError] = []
    for name in ("openslide", {"TIFF": "tiffslide", "DICOM": "wsidicom"}.get(kind or "")):
        if name is None:
            continue
        # a package that is not installed has refused nothing
        degraded = _degraded(path, refused) if name == "tiffslide" and refused else ""
        try:
            slide = Slide(path, name, READERS.load(name), degraded)
        except MachineError as error:
            lacking.append(error)
        except Exception as error:
            refused.append(f"{name}: {str(error).splitlines()[0] if str(error) else error!r}")
        else:
            if degraded:
                warn("%s: %s", path, degraded)
            return slide
    if not refused:
        raise lacking[0]
    raise BadDataError(_told(path, size, kind, refused))


def _told(path: Path, size: int, kind: str | None, refused: list[str]) -> str:
    if kind is None:
        with path.open("rb") as stream:
            begin = stream.read(4)
        return (
            f"{path}: not a slide ({'; '.join(refused)}; {size} bytes, beginning with {begin!r}). "
            "Expected SVS, pyramidal TIFF, NDPI, MRXS, SCN, BIF or DICOM; export it again."
        )
    return (
        f"{path}: begins as {kind} but cannot be opened ({'; '.join(refused)}; {size} bytes). "
        f"Is it truncated? {_COPY[0].upper()}{_COPY[1:]} and compare the size."
    )


def _kind(path: Path) -> str | None:
    with path.open("rb") as stream:
        head = stream.read(132)
    if head[:4] in _TIFF:
        return "TIFF"
    return "DICOM" if head[128:132] == b"DICM" else None


def _degraded(path: Path, refused: list[str]) -> str:
    """What a TIFF lacks that OpenSlide has refused, or "" where it is whole and only unknown to it.

    Raises:
        BadDataError: Pixels of the base image lie behind the end of the file.
    """
    size = path.stat().st_size
    try:
        with tifffile.TiffFile(path) as file:
            ends = [_ends(page) for page in file.pages]
            base = ends[0]
            whole = _chain_is_closed(file) and all(max(each) <= size for each in ends)
    except Exception as error:
        reason = f"tifffile: no page can be read, {type(error).__name__}"
        raise BadDataError(_told(path, size, "TIFF", [*refused, reason])) from None
    behind = sum(end > size for end in base)
    if behind:
        raise BadDataError(
            f"{path}: truncated: {behind} of {len(base)} tiles of the base image lie behind the "
            f"end of the file (found {size} bytes, expected at least {max(base)}); {_COPY}."
        )
    if whole:
        return ""
    return (
        f"degraded: {refused[0]}; tiffslide reads it, all {len(base)} tiles of the base image "
        f"are there ({size} bytes) and are all that is used; better {_COPY}."
    )


def _ends(page: Any) -> list[int]:
    """Where the tiles of a page end in the file."""
    return [at + n for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)]


def _chain_is_closed(file: Any) -> bool:
    """Whether the last page says that it is the last, instead of naming one that is gone."""
    file.filehandle.seek(file.pages.next_page_offset)
    raw = file.filehandle.read(file.tiff.offsetsize)
    return int.from_bytes(raw, "little" if file.byteorder == "<" else "big") == 0
