"""The scan: every file of an archive read by its header, once, resumable, in parallel."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from medssm.core.errors import BadDataError
from medssm.data.dicom.headers import DicomHeader, Plane, blake, read_header
from medssm.data.file_kinds import HEAD_BYTES, FileKind, kind_of, suffix_of
from medssm.data.listing import listing
from medssm.data.pseudonyms import Pseudonyms
from medssm.data.reasons import Reason
from medssm.fields.pretraining.image_files import (
    ImageHeader,
    NotAVolumeError,
    read_image_header,
)
from medssm.fields.pretraining.ledger import append_lines, open_part, read_lines
from medssm.fields.pretraining.places import Place, content_of, members_of

_BATCH = 64
_SHUT = "cannot be opened"


@dataclass(frozen=True)
class FileRow:
    """What the scan knows of one file. It names paths, so it stays on site.

    Args:
        path, member: Where it lies.
        size, mtime_ns: Of the file on disk, which tell whether it changed.
        kind: What it is.
        file_hash: BLAKE2b of its bytes.
        reason: Why it is out already, or "".
        detail: What else is known of that.
        header: Of a DICOM file or an image, as plain data.
    """

    path: str
    member: str
    size: int
    mtime_ns: int
    kind: FileKind
    file_hash: str = ""
    reason: str = ""
    detail: str = ""
    header: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.path, self.member)

    @cached_property
    def dicom(self) -> DicomHeader:
        """The header of a DICOM file."""
        facts = dict(self.header)
        planes = tuple(_plane(each) for each in facts.pop("planes"))
        for name in ("image_type", "bits"):
            facts[name] = tuple(facts[name])
        padding = facts.pop("padding")
        return DicomHeader(
            **facts, planes=planes, padding=None if padding is None else (padding[0], padding[1])
        )

    @cached_property
    def image(self) -> ImageHeader:
        """The header of an image file."""
        return ImageHeader(**{k: _frozen(value) for k, value in self.header.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _plane(facts: Mapping[str, Any]) -> Plane:
    return Plane(**{name: _frozen(value) for name, value in facts.items()})


@dataclass(frozen=True)
class ScanJob:
    """Some files to scan; travels to a worker, which appends the rows to a part of its own."""

    name: str
    source: Path
    paths: tuple[str, ...]
    pseudonyms: Pseudonyms
    folder: Path

    def run(self) -> None:
        """Scan the files; a batch is on the disk at once or not at all."""
        rows = [row for path in self.paths for row in scan_file(self.source, path, self.pseudonyms)]
        append_lines(open_part(self.folder), (json.dumps(asdict(row)) for row in rows))


def scan_jobs(
    source: Path, folder: Path, pseudonyms: Pseudonyms, known: Iterable[FileRow]
) -> list[ScanJob]:
    """What is left to scan.

    Args:
        source: The archive's folder.
        folder: Of the catalogue's parts.
        pseudonyms: For identifiers.
        known: Rows of earlier scans.
    """
    # of a zip that a kill cut short only some members are known, and not the zip itself;
    # and what could not be opened may be open now
    seen = {
        (row.path, row.size, row.mtime_ns)
        for row in known
        if not row.member and (row.detail != _SHUT or not os.access(source / row.path, os.R_OK))
    }
    todo = [path for path, facts in listing(source).items() if (path, *facts) not in seen]
    return [
        ScanJob(f"files {at + 1}-{at + len(part)}", source, part, pseudonyms, folder)
        for at in range(0, len(todo), _BATCH)
        if (part := tuple(todo[at : at + _BATCH]))
    ]


def read_catalogue(folder: Path, source: Path) -> list[FileRow]:
    """The newest rows of the files that are still there, in the order of their places."""
    present = listing(source)
    rows: dict[str, FileRow] = {}
    for content in read_lines(sorted(folder.glob("part-*.jsonl"))):
        row = FileRow(**content)
        if present.get(row.path) == (row.size, row.mtime_ns):
            rows[row.place.name] = row
    return [rows[name] for name in sorted(rows)]


def scan_file(source: Path, path: str, pseudonyms: Pseudonyms) -> Iterator[FileRow]:
    """The rows of a file: one, and for a zip one a member beside."""
    full = source / path
    facts = (0, 0)
    try:
        status = full.stat()
        facts = (status.st_size, status.st_mtime_ns)
        with full.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        yield FileRow(path, "", *facts, "none", "", Reason.UNREADABLE, _SHUT)
        return
    kind, _ = kind_of(path, head)
    if kind != "zip":
        yield _row(source, Place(path), facts, head, pseudonyms)
        return
    try:
        members = members_of(full)
    except BadDataError as error:
        yield FileRow(path, "", *facts, "zip", "", Reason.ARCHIVE_UNSAFE, _bare(error, full))
        return
    # the zip itself is known when all of its members are, so its row comes last
    for member in members:
        place = Place(path, member.filename)
        content = _content(source, place)
        if isinstance(content, str):
            yield FileRow(path, member.filename, *facts, "none", "", Reason.UNREADABLE, content)
        else:
            yield _row(source, place, facts, content[:HEAD_BYTES], pseudonyms)
    yield FileRow(path, "", *facts, "zip", "", "", f"{len(members)} files")


def _content(source: Path, place: Place) -> bytes | str:
    try:
        return content_of(source, place)
    except BadDataError as error:
        return _bare(error, source / place.path)


def _row(
    source: Path, place: Place, facts: tuple[int, int], head: bytes, pseudonyms: Pseudonyms
) -> FileRow:
    kind, reason = kind_of(place.file_name, head)
    where = (place.path, place.member, *facts)
    if kind == "zip":
        return FileRow(*where, "none", "", Reason.ARCHIVE_UNSAFE, "a zip inside of a zip")
    if reason is not None:
        return FileRow(*where, "none", "", reason)
    content = _content(source, place)
    if isinstance(content, str):
        return FileRow(*where, kind, "", Reason.UNREADABLE, content)
    file_hash = blake(content)
    try:
        if kind == "dicom":
            header: Any = read_header(content, place.name, pseudonyms)
        else:
            suffix = suffix_of(kind, place.file_name, head)
            header = read_image_header(source, place, kind, suffix)
            parts = [content_of(source, _beside(place, part)) for part in header.parts]
            file_hash = blake(b"".join([content, *parts])) if parts else file_hash
    except NotAVolumeError as error:
        return FileRow(*where, kind, file_hash, error.reason, str(error))
    except BadDataError as error:
        return FileRow(
            *where, kind, file_hash, Reason.UNREADABLE, _bare(error, source / place.path)
        )
    return FileRow(*where, kind, file_hash, header=asdict(header))


def _beside(place: Place, name: str) -> Place:
    return Place((PurePosixPath(place.path).parent / name).as_posix())


def _bare(error: BadDataError, path: Path) -> str:
    """A message without the path, which may hold a name."""
    text = str(error)
    for word in (f"{path}: ", str(path), path.name):
        text = text.replace(word, "")
    head, _, rest = text.partition(": ")
    # readers of a staged copy name that copy
    return rest if head.startswith("/") and rest else text
