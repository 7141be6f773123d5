"""Files that are whole or absent: write to a temporary name, sync, rename."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError

# the ending of the final name is kept, since writers choose the format by it
TEMPORARY_MARK = ".medssm-partial-"
# the folder beside outputs in which we note what was made from what
RECORDS = ".medssm"
_TEMPORARY = re.compile(r"^\.medssm-partial-[0-9a-f]{8}-")


def is_temporary(path: Path) -> bool:
    """Say whether a name belongs to an unfinished write, which readers pass over."""
    return bool(_TEMPORARY.match(path.name))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where the system offers it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name in the same folder; rename it to `path` if the block succeeds.

    Args:
        path: The final name; its folder is made.

    Yields:
        The temporary name to write to, with the same ending as `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{TEMPORARY_MARK}{secrets.token_hex(4)}-{path.name}")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 text file atomically."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write data as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        BadDataError: The file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadDataError(f"{path}: the file does not exist.") from None
    # ValueError: what is no JSON, no text, or a number of thousands of digits
    except (ValueError, RecursionError) as error:
        raise BadDataError(
            f"{path}: not valid JSON ({error}). Expected a complete JSON file; restore it from "
            "its source or delete it and run the command that writes it again."
        ) from None


def remove_temporaries(folder: Path) -> int:
    """Delete what killed writers left in a folder and its records; returns how many files."""
    left = [
        *folder.glob(f"{TEMPORARY_MARK}*"),
        *(folder / RECORDS).rglob(f"{TEMPORARY_MARK}*"),
    ]
    found = [path for path in left if is_temporary(path)]
    for path in found:
        with suppress(OSError):
            path.unlink()
    return len(found)


def sha256(path: Path) -> str:
    """Hash a file's content."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Hash plain data: the same data gives the same text on every machine."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()
