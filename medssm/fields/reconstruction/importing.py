"""Bring k-space under the home folder: a record of where it lies, nothing copied."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import MedssmError, UsageError
from medssm.core.files import is_temporary
from medssm.data.kspace.h5_file import open_h5
from medssm.data.kspace.raw_ismrmrd import raw_group
from medssm.data.patients import patients_by_pattern, patients_by_table
from medssm.data.readers.kspace import KSPACE_ENDINGS, kspace_files
from medssm.runs.answer import Answer
from medssm.runs.datasets import register_dataset
from medssm.runs.field import ImportRequest

KIND = "kspace"
# what a look at a raw folder may cost
_MOST_NAMES = 2000
_MOST_FILES = 8


def import_kspace(request: ImportRequest) -> Answer:
    """Register a folder of k-space files, or a single file.

    Args:
        request: Its flags may name patients: `patient`, a pattern over case names, or `patients`,
            a CSV with the columns case and patient.

    Raises:
        BadDataError: No k-space files there.
        UsageError: A word or flag that an import of k-space does not take.
    """
    if request.overrides:
        raise UsageError(f"medssm import kspace SOURCE: unexpected word {request.overrides[0]!r}.")
    unknown = sorted(set(request.flags) - {"patient", "patients"})
    if unknown:
        raise UsageError(f"medssm import kspace: --{unknown[0]} has no meaning here; leave it out.")
    source = Path(request.source).expanduser().absolute()
    cases = case_files(source)
    content: dict[str, Any] = {}
    patients = _patients(list(cases), request.flags)
    if patients:
        content["patients"] = patients
    workspace = register_dataset(request.home, source, "reconstruction", request.name, content)
    facts = {"dataset": workspace.dataset, "cases": len(cases), "source": str(source)}
    lines = [f"{workspace.dataset}: {len(cases)} files of k-space in {source}, nothing copied"]
    written = [workspace.raw_folder / "dataset.json"]
    return Answer(facts, lines, written, ("medssm", "plan", workspace.dataset))


def _patients(cases: list[str], flags: Mapping[str, Any]) -> dict[str, str]:
    pattern, table = flags.get("patient"), flags.get("patients")
    if pattern and table:
        raise UsageError("take --patient or --patients, not both.")
    if pattern:
        return patients_by_pattern(cases, str(pattern))
    return patients_by_table(cases, Path(table)) if table else {}


def case_files(source: Path) -> dict[str, Path]:
    """The files of a data set by case: the file's name, with its folder's where two are alike.

    Raises:
        BadDataError: There are none.
    """
    found: dict[str, Path] = {}
    files = kspace_files(source)
    stems = [file.stem for file in files]
    for file, stem in zip(files, stems, strict=True):
        name = stem
        if stems.count(stem) > 1:
            place = file.relative_to(source) if source.is_dir() else Path(file.name)
            # the ending tells an array from a file of the same name
            name = "_".join((*place.parent.parts, place.name.replace(".", "_")))
        found[name] = file
    return dict(sorted(found.items()))


def recognise(folder: Path) -> str | None:
    """The import kind of a raw folder of k-space, else None; only a few files are opened."""
    for looked, file in enumerate(_candidates(Path(folder))):
        if looked >= _MOST_FILES:
            break
        try:
            if _is_kspace(file):
                return KIND
        except (MedssmError, OSError, ValueError):
            # what cannot be read is explained by the field that is asked for it
            continue
    return None


def _candidates(folder: Path) -> Iterator[Path]:
    names = 0
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            names += 1
            if names > _MOST_NAMES:
                return
            path = Path(place, name)
            if path.suffix.lower() in KSPACE_ENDINGS and not is_temporary(path):
                yield path


def _is_kspace(file: Path) -> bool:
    if file.suffix.lower() == ".cfl":
        return file.with_suffix(".hdr").is_file()
    if file.suffix.lower() == ".npy":
        values = np.load(file, mmap_mode="r", allow_pickle=False)
        return bool(np.iscomplexobj(values)) and values.ndim in (2, 3, 4)
    with open_h5(file) as content:
        return "kspace" in content or raw_group(content) is not None
