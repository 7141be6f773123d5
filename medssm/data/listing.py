"""Every file below a folder, links followed and never in circles."""

import os
from pathlib import Path


def listing(source: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder: path below it to size and time; 0, 0 for a link to nowhere."""
    found: dict[str, tuple[int, int]] = {}
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(source, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            # a link that leads back up
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(files):
            path = Path(folder) / name
            try:
                status = path.stat()
                facts = (status.st_size, status.st_mtime_ns)
            except OSError:
                facts = (0, 0)
            found[path.relative_to(source).as_posix()] = facts
    return found
