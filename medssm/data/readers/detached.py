"""MetaImage and NRRD headers whose voxels lie in other files: held to the header's own folder."""

import re
from pathlib import Path

from medssm.core.errors import BadDataError

# headers and lists of files are far shorter
_MOST = 1 << 20
_META = re.compile(r"ElementDataFile\s*[=:]([^\r\n]*)")
_NRRD = re.compile(r"(?i)(?:^|[\r\n])\s*data ?file\s*:([^\r\n]*)")
# ITK hands a pattern to C, where more than numbers can be asked for
_PATTERN = re.compile(r"%(?!\d*d)")
_DRIVE = re.compile(r"[A-Za-z]:")
_BLANK = re.compile(r"\n\n|\r\n\r\n")


def image_io(path: Path) -> str:
    """ITK's reader for a file by its ending; ITK itself would try every one that it has."""
    return "NrrdImageIO" if path.suffix.lower() in (".nrrd", ".nhdr") else "MetaImageIO"


def refuse_voxels_elsewhere(path: Path) -> None:
    """Keep a header from having any file of the machine read as its voxels.

    Args:
        path: MetaImage or NRRD.

    Raises:
        BadDataError: It names an absolute file, one above its folder, or standard input.
    """
    with path.open("rb") as stream:
        text = stream.read(_MOST).decode("latin-1")
    for name in _named(path, text):
        parts = re.split(r"[/\\]", name)
        strange = _DRIVE.match(name) or _PATTERN.search(name)
        if name == "-" or parts[0] == "" or ".." in parts or strange:
            raise BadDataError(
                f"{path}: its voxels are said to be in {name!r}. Expected a file in the header's "
                "own folder or below; put it there and correct the header."
            )


def _named(path: Path, text: str) -> list[str]:
    """Names of the files with the voxels; none where they follow the header."""
    nrrd = image_io(path) == "NrrdImageIO"
    field = _NRRD if nrrd else _META
    if len(text) == _MOST and (_BLANK if nrrd else field).search(text) is None:
        raise BadDataError(f"{path}: a header of more than {_MOST:,} bytes. Export it again.")
    names: list[str] = []
    # also behind what looks like the end: parsers differ over where that is
    for told in field.finditer(text):
        name = told[1].strip()
        if name.upper().startswith("LIST"):
            # one name a line, to the end of the file
            names += text[told.end() :].splitlines()
        if nrrd or name.upper() != "LOCAL":
            names.append(name)
    if len(names) > 1 and len(text) == _MOST:
        raise BadDataError(f"{path}: a list of more than {_MOST:,} bytes. Export it again.")
    # patterns have numbers behind them
    return [word for each in names for word in (each.strip(), *each.split()) if word]
