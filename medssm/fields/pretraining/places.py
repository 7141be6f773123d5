"""A file of an archive, on disk or inside of a zip: its bytes, or a path for readers."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medssm.core.errors import BadDataError

_MAX_RATIO = 200
_MAX_MEMBERS = 1_000_000
_MAX_BYTES = 16 * 2**30
_MARK = "::"


@dataclass(frozen=True)
class Place:
    """Where a file lies.

    Args:
        path: Below the source, with "/".
        member: Its name inside of that zip, or "".
    """

    path: str
    member: str = ""

    @property
    def name(self) -> str:
        """One word for both; `place_named` reads it back."""
        return f"{self.path}{_MARK}{self.member}" if self.member else self.path

    @property
    def file_name(self) -> str:
        """What the file itself is called."""
        return self.member or self.path


def place_named(name: str) -> Place:
    """The place that `Place.name` called so."""
    path, _, member = name.partition(_MARK)
    return Place(path, member)


def content_of(source: Path, place: Place) -> bytes:
    """All bytes of a file.

    Raises:
        BadDataError: The file is gone, or its zip is damaged.
    """
    path = source / place.path
    try:
        if not place.member:
            return path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            return archive.read(place.member)
    except (OSError, zipfile.BadZipFile, RuntimeError, KeyError, EOFError) as error:
        raise BadDataError(f"{path}: cannot be read ({type(error).__name__}: {error}).") from error


def members_of(path: Path) -> list[zipfile.ZipInfo]:
    """The files in a zip, after its claims were looked at; nothing is unpacked.

    Raises:
        BadDataError: Damaged, encrypted, or it claims what no honest archive does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise BadDataError(f"{path}: not a whole zip file ({error}).") from error
    if len(members) > _MAX_MEMBERS:
        raise BadDataError(f"{path}: holds {len(members):,} files, more than {_MAX_MEMBERS:,}.")
    for each in members:
        if each.flag_bits & 1:
            raise BadDataError(f"{path}: is encrypted. Unpack it first.")
        if each.file_size > _MAX_BYTES or each.file_size > _MAX_RATIO * max(each.compress_size, 1):
            raise BadDataError(
                f"{path}: a file in it claims {each.file_size:,} bytes from "
                f"{each.compress_size:,}. Unpack it first if it is honest."
            )
    return members


@contextmanager
def staged(source: Path, place: Place, suffix: str) -> Iterator[Path]:
    """A path with the ending that readers want; from a zip, or under another name, a passing one.

    Args:
        source: The archive's folder.
        place: The file.
        suffix: Such as ".nii.gz".
    """
    path = source / place.path
    if not place.member and path.name.lower().endswith(suffix):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="medssm-") as folder:
        target = Path(folder) / f"image{suffix}"
        if place.member:
            target.write_bytes(content_of(source, place))
        else:
            target.symlink_to(path.resolve())
        yield target
