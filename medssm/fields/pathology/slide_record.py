"""What was made from which slide: a slide counts as done by its record, and only by it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medssm.core.errors import BadDataError
from medssm.core.files import RECORDS, read_json, write_json

_END_BYTES = 2**20


def fingerprint(path: Path) -> dict[str, Any]:
    """Size, time, and a hash over the first and the last MiB: slides are too large for more."""
    status = path.stat()
    hashed = hashlib.sha256()
    with path.open("rb") as stream:
        hashed.update(stream.read(_END_BYTES))
        stream.seek(max(0, status.st_size - _END_BYTES))
        hashed.update(stream.read(_END_BYTES))
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256_first_last_MiB": hashed.hexdigest(),
    }


def record_file(folder: Path, name: str) -> Path:
    """Where the record of a slide lies."""
    return folder / RECORDS / "slides" / f"{name}.json"


def write_record(
    folder: Path, name: str, settings: str, slide: Path, facts: Mapping[str, Any]
) -> None:
    """Say that a slide is done; called when its features lie there whole."""
    content = {
        "slide": name,
        "settings": settings,
        "input": fingerprint(slide),
        "output_size": (folder / f"{name}.h5").stat().st_size,
        **facts,
    }
    write_json(record_file(folder, name), content)


def forget(folder: Path, name: str) -> None:
    """An older record must not vouch for features that are being replaced."""
    record_file(folder, name).unlink(missing_ok=True)


def done_before(folder: Path, name: str, settings: str, slide: Path) -> dict[str, Any] | None:
    """The record of a slide that was made from this file with these settings, or None."""
    file, output = record_file(folder, name), folder / f"{name}.h5"
    if not file.is_file() or not output.is_file() or not slide.is_file():
        return None
    try:
        record: dict[str, Any] = read_json(file)
        before = record["input"]
        fits = record["settings"] == settings and record["output_size"] == output.stat().st_size
    except (BadDataError, KeyError, TypeError):
        return None
    if not fits or before["size"] != slide.stat().st_size:
        return None
    # a copied or touched file has a new time and the same content
    if before["mtime_ns"] != slide.stat().st_mtime_ns:
        now = fingerprint(slide)
        if now["sha256_first_last_MiB"] != before["sha256_first_last_MiB"]:
            return None
    return record
