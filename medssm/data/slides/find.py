"""The slides of a folder by their ids; the files of a DICOM series are one slide."""

from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.files import is_temporary
from medssm.data.bags.slide_table import SLIDE_ENDINGS, slide_id
from medssm.data.slides.dicom_reader import series_uid


def find_slides(source: Path) -> dict[str, Path]:
    """Find slides by the endings of their files.

    Args:
        source: A file, or a folder that is searched with its subfolders.

    Returns:
        Files by slide id; of a DICOM series the first file.

    Raises:
        BadDataError: Nothing there, or two files for an id.
    """
    source = Path(source)
    if source.is_file():
        return {slide_id(source.name): source}
    if not source.is_dir():
        raise BadDataError(f"{source}: no such file or folder.")
    found: dict[str, Path] = {}
    series: set[str] = set()
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() not in SLIDE_ENDINGS or not path.is_file() or is_temporary(path):
            continue
        if path.suffix.lower() == ".dcm" and not _is_first_of_series(path, series):
            continue
        name = slide_id(path.name)
        if name in found:
            raise BadDataError(
                f"{path} and {found[name]} are both the slide {name!r}. Expected one file a "
                "slide; rename one of them or take it away."
            )
        found[name] = path
    if not found:
        raise BadDataError(f"{source}: no slides. Expected files such as {SLIDE_ENDINGS[0]}, "
                           f"{', '.join(SLIDE_ENDINGS[1:])}.")  # fmt: skip
    return found


def _is_first_of_series(path: Path, seen: set[str]) -> bool:
    """An unreadable file counts as a slide of its own: opening it says what is wrong."""
    try:
        uid = series_uid(path)
    except BadDataError:
        return True
    if uid in seen:
        return False
    seen.add(uid)
    return True
