"""The DICOM files of a folder, told by their first bytes: every header, and what is none."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.log import progress
from medssm.data.dicom.headers import DicomHeader, blake, read_header
from medssm.data.dicom.screening import Rejection
from medssm.data.file_kinds import HEAD_BYTES, kind_of
from medssm.data.listing import listing
from medssm.data.reasons import Reason

_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Scan:
    """What lies in a folder.

    Args:
        headers: Of the DICOM files, identifiers as they are.
        out: The other files, with the reason.
    """

    headers: tuple[DicomHeader, ...]
    out: tuple[Rejection, ...]


def files_below(source: Path, without: Path | None = None) -> list[Path]:
    """Every file below a folder, in the order of their paths.

    Args:
        source: The folder, or one file.
        without: A folder whose files do not count, e.g. that of the outputs.
    """
    if source.is_file():
        return [source]
    barred = None if without is None else without.resolve()
    found = (source / path for path in sorted(listing(source)))
    return [path for path in found if barred is None or barred not in path.resolve().parents]


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, with or without its preamble."""
    return _kind(path)[0] == "dicom"


def any_dicom(paths: Iterable[Path]) -> bool:
    """Whether one of the files is DICOM."""
    return any(is_dicom_file(path) for path in paths)


def scan_files(paths: Sequence[Path]) -> Scan:
    """Read every header; a damaged file is told and costs only itself.

    Args:
        paths: The files; one is in memory at a time.
    """
    headers: list[DicomHeader] = []
    out: list[Rejection] = []
    for path in progress(paths, len(paths), "headers"):
        found = _header(path)
        if isinstance(found, Rejection):
            out.append(found)
        else:
            headers.append(found)
    return Scan(tuple(headers), tuple(out))


def _header(path: Path) -> DicomHeader | Rejection:
    place = str(path)
    kind, reason = _kind(path)
    if kind != "dicom":
        return Rejection(place, reason or Reason.NOT_AN_IMAGE, kind if kind != "none" else "")
    try:
        header = read_header(path.read_bytes(), place, spoken=True)
    except BadDataError:
        # the message may hold values of the header, and those a name
        return Rejection(place, Reason.UNREADABLE, "the header is damaged")
    except OSError as error:
        return Rejection(place, Reason.UNREADABLE, error.strerror or "")
    uids = (header.study, header.series, header.sop, header.reference)
    if any(uid and not _UID.fullmatch(uid) for uid in uids):
        return Rejection(place, Reason.UNSAFE_UID, "a UID is digits and points, 64 at most")
    if not header.series:
        # de-identification may leave no UID; then what lies in one folder is one series
        header = replace(header, series=f"folder {blake(str(path.parent).encode())}")
    return header


def _kind(path: Path) -> tuple[str, Reason | None]:
    try:
        with path.open("rb") as stream:
            return kind_of(path.name, stream.read(HEAD_BYTES))
    except OSError:
        return "none", Reason.UNREADABLE
