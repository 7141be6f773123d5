"""Whether a raw folder looks like an archive of scans; a glance, since every field is asked."""

import os
from collections.abc import Iterator
from pathlib import Path

from medssm.data.dicom.headers import is_dicom

_LOOKED_AT = 40
_VOLUMES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
# a folder with one of these means labels, which is another field's
_LABELLED = ("labels", "labelstr", "dataset.json")


def is_archive(folder: Path) -> bool:
    """Whether among the first files are DICOM files, or nothing but volumes without labels."""
    names = {each.name.lower() for each in folder.iterdir()}
    volumes = 0
    others = 0
    for path in _first_files(folder):
        if _begins_as_dicom(path):
            return True
        if path.name.lower().endswith(_VOLUMES):
            volumes += 1
        else:
            others += 1
    return volumes > others and not names & set(_LABELLED)


def _first_files(folder: Path) -> Iterator[Path]:
    left = _LOOKED_AT
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.startswith("."):
                continue
            yield Path(place) / name
            left -= 1
            if left == 0:
                return


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(132))
    except OSError:
        return False
