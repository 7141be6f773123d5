"""Zip archives from outside: each name checked, sizes counted while unpacking, whole or not."""

import os
import re
import secrets
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from medssm.core.errors import BadDataError, MachineError, UsageError
from medssm.core.files import TEMPORARY_MARK, sync_folder

_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CHUNK = 2**20
_LONGEST_NAME = 255


@dataclass(frozen=True)
class ArchiveLimits:
    """What an honest archive stays below.

    Args:
        max_bytes: Of all files together, unpacked.
        max_ratio: Unpacked over packed bytes, of each file and of the whole.
        max_members: Files and folders.
    """

    max_bytes: int = 64 * 2**30
    max_ratio: float = 200.0
    max_members: int = 10_000


DEFAULT_LIMITS = ArchiveLimits()


def is_archive(path: Path) -> bool:
    """Whether a file is a zip, whatever it is called."""
    return path.is_file() and zipfile.is_zipfile(path)


def unpack(
    archive: Path,
    folder: Path,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    suffixes: Collection[str] | None = None,
    force: bool = False,
) -> list[Path]:
    """Unpack a zip into a folder that appears only when everything in it was checked.

    Nothing is synced: thousands of slices that are read once need not outlive a power cut.

    Args:
        archive: The zip file.
        folder: The folder to make; its parent is made too.
        limits: Sizes beyond which an archive is refused.
        suffixes: The only endings, in small letters, that files may have; None takes all.
        force: Whether a folder that is there makes way.

    Returns:
        The files, sorted.

    Raises:
        BadDataError: A member is refused, damaged, encrypted or beyond the limits; the message
            names archive, member, what was found, what was expected and the remedy.
        UsageError: `folder` is there and not empty.
        MachineError: The disk is full or refuses.
    """
    refuse_occupied(folder, force)
    with staged(archive, folder.parent, limits=limits, suffixes=suffixes) as passing:
        _rename(passing, folder, force)
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def staged(
    archive: Path,
    parent: Path,
    *,
    limits: ArchiveLimits = DEFAULT_LIMITS,
    suffixes: Collection[str] | None = None,
) -> Iterator[Path]:
    """Unpack into a temporary folder in `parent`; what still lies there afterwards is deleted.

    Raises:
        BadDataError: As `unpack`.
        MachineError: As `unpack`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    passing = parent / f"{TEMPORARY_MARK}{secrets.token_hex(4)}-{archive.stem}"
    try:
        with _opened(archive) as opened:
            members = _checked(archive, opened.infolist(), limits, suffixes)
            passing.mkdir()
            _write_all(archive, opened, members, passing, limits)
        yield passing
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def refuse_occupied(folder: Path, force: bool) -> None:
    """Keep what is there.

    Raises:
        UsageError: `folder` is there, not an empty folder, and `force` is not given.
    """
    occupied = folder.is_symlink() or (
        folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    )
    if occupied and not force:
        raise UsageError(f"{folder} is there already. Give another name, or --force to replace it.")


def put_in_place(passing: Path, folder: Path, force: bool) -> None:
    """Sync a finished folder and rename it to its final name; with `force` the old makes way.

    Raises:
        UsageError: As `refuse_occupied`.
    """
    for path in passing.rglob("*"):
        if path.is_file():
            with path.open("rb") as written:
                os.fsync(written.fileno())
    _rename(passing, folder, force)
    sync_folder(folder.parent)


def _rename(passing: Path, folder: Path, force: bool) -> None:
    refuse_occupied(folder, force)
    old = folder.with_name(f"{TEMPORARY_MARK}{secrets.token_hex(4)}-{folder.name}")
    with suppress(FileNotFoundError):
        folder.rename(old)
    try:
        passing.rename(folder)
    except OSError:
        with suppress(FileNotFoundError):
            old.rename(folder)
        raise
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip; damage and a full disk become errors for users."""
    try:
        with zipfile.ZipFile(archive) as opened:
            yield opened
    except FileNotFoundError:
        raise BadDataError(f"{archive}: there is no such file.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadDataError(
            f"{archive}: not a whole zip file that can be read ({error}). Fetch it again, or pack "
            "it anew with plain compression."
        ) from error
    except OSError as error:
        raise MachineError(f"{archive}: could not be unpacked ({error}).") from error


def _refuse(archive: Path, member: str, found: str, expected: str) -> NoReturn:
    shown = member if len(member) <= 120 else f"{member[:117]}..."
    raise BadDataError(
        f"{archive}: member {shown!r}: {found}; expected {expected}. Nothing was unpacked. Ask "
        "whoever packed it for a clean archive; do not unpack it by hand unless you trust it."
    )


def _checked(
    archive: Path,
    members: list[zipfile.ZipInfo],
    limits: ArchiveLimits,
    suffixes: Collection[str] | None,
) -> list[zipfile.ZipInfo]:
    """Hold the table of contents against the rules before a byte is unpacked."""
    if len(members) > limits.max_members:
        raise BadDataError(
            f"{archive}: holds {len(members):,} members; expected at most {limits.max_members:,}. "
            "Pack it in parts."
        )
    # place, alike for all cases -> its name and whether it is a folder
    places: dict[str, tuple[str, bool]] = {}
    for each in members:
        _check_kind(archive, each)
        _check_name(archive, each.orig_filename)
        _check_clash(archive, each.orig_filename, each.is_dir(), places)
        if suffixes is not None and not each.is_dir():
            _check_suffix(archive, each.orig_filename, suffixes)
        if each.file_size > limits.max_ratio * max(each.compress_size, 1):
            _refuse_ratio(archive, each, each.file_size, limits)
    total = sum(each.file_size for each in members)
    if total > limits.max_bytes:
        raise BadDataError(
            f"{archive}: unpacks to {total:,} bytes; expected at most {limits.max_bytes:,}. "
            "Pack it in parts."
        )
    return members


def _check_kind(archive: Path, member: zipfile.ZipInfo) -> None:
    """Files and folders only, and none of them encrypted."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        name = "a symbolic link" if kind == stat.S_IFLNK else f"a special file ({kind:#o})"
        _refuse(archive, member.filename, f"found {name}", "a plain file or a folder")
    if member.flag_bits & 1:
        _refuse(archive, member.filename, "it is encrypted", "a file without a password")


def _check_name(archive: Path, name: str) -> None:
    """A relative name below the folder, on every system."""
    expected = "a relative name with / that stays below the archive's folder"
    if _CONTROL.search(name):
        _refuse(archive, name, "its name holds a control character", expected)
    if "\\" in name:
        _refuse(archive, name, "its name holds a backslash", expected)
    if name.startswith("/"):
        _refuse(archive, name, "its name is absolute", expected)
    if _DRIVE.match(name):
        _refuse(archive, name, "its name starts with a drive letter", expected)
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        _refuse(archive, name, "its name holds '..'", expected)
    if any(part in ("", ".") for part in parts):
        _refuse(archive, name, "its name has an empty part or '.'", expected)
    if any(len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts):
        _refuse(archive, name, "a part of its name is too long", f"at most {_LONGEST_NAME} bytes")


def _check_clash(
    archive: Path, name: str, is_folder: bool, places: dict[str, tuple[str, bool]]
) -> None:
    """No two members at one place, also where names that differ by case are the same."""
    path = PurePosixPath(name)
    for each in (*path.parents[-2::-1], path):
        folder = is_folder or each != path
        key = unicodedata.normalize("NFC", str(each)).casefold()
        if key not in places:
            places[key] = (str(each), folder)
            continue
        before, was_folder = places[key]
        if before != str(each):
            _refuse(archive, name, f"{before!r} is there too, but for the case", "names apart")
        if not folder or not was_folder:
            _refuse(archive, name, f"{before!r} is there twice", "each name once")


def _check_suffix(archive: Path, name: str, suffixes: Collection[str]) -> None:
    if not name.lower().endswith(tuple(suffixes)):
        _refuse(archive, name, "its ending is unknown", f"one of {', '.join(sorted(suffixes))}")


def _refuse_ratio(
    archive: Path, member: zipfile.ZipInfo, unpacked: int, limits: ArchiveLimits
) -> NoReturn:
    _refuse(
        archive,
        member.filename,
        f"{member.compress_size:,} bytes unpack to {unpacked:,} or more",
        f"at most {limits.max_ratio:g} times as many",
    )


def _write_all(
    archive: Path,
    opened: zipfile.ZipFile,
    members: list[zipfile.ZipInfo],
    folder: Path,
    limits: ArchiveLimits,
) -> None:
    """Unpack, and count what really comes out: the sizes in a header are claims."""
    packed = archive.stat().st_size
    total = 0
    for each in members:
        target = folder.joinpath(*PurePosixPath(each.orig_filename).parts)
        if each.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        ceiling = limits.max_ratio * max(min(each.compress_size, packed), 1)
        written = 0
        # "x": a name that is there already, however it came, is an error
        with opened.open(each) as source, target.open("xb") as sink:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                total += len(chunk)
                if written > ceiling or total > min(limits.max_ratio * packed, limits.max_bytes):
                    _refuse_ratio(archive, each, written, limits)
                sink.write(chunk)
