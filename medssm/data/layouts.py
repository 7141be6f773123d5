"""Layouts of data sets in the wild, brought under the home folder without copying a voxel."""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import atomic_path, read_json, write_json
from medssm.core.log import say, warn
from medssm.data.decathlon import scan_msd
from medssm.data.manifest import Manifest, read_manifest
from medssm.data.patients import patients_by_pattern, patients_by_table
from medssm.data.plain_folder import scan_folder
from medssm.data.published import PUBLISHED, RESIZED
from medssm.data.source import Source

Kind = Literal["folder", "msd", "nnunet"]
_NAME = re.compile(r"^Dataset(\d{3})_(\w[\w.-]*)$")


@dataclass(frozen=True)
class ImportOptions:
    """What a user may say about an import.

    Args:
        name: DatasetNNN_Name; None makes it of the folder's name and a free number.
        copy: Copy the files instead of naming their places.
        channels: Names of the channels; they decide the normalisation ("CT", "MRI", "noNorm").
        labels: Names of the foreground values in order; None numbers them.
        patient: A regular expression whose first group is the patient of a case name.
        patients: A CSV with the columns case and patient, where names do not say it.
        size: Edge of the squares to which pictures are resized; None keeps their sizes.
    """

    name: str | None = None
    copy: bool = False
    channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    patient: str | None = None
    patients: Path | None = None
    size: int | None = None


def recognise_layout(folder: Path) -> Kind | None:
    """Say which layout a folder has, or None."""
    file = folder / "dataset.json"
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace")
        return "msd" if '"training"' in text and '"file_ending"' not in text else "nnunet"
    for images, labels in (("images", "labels"), ("imagesTr", "labelsTr")):
        if (folder / images).is_dir() and (folder / labels).is_dir():
            return "folder"
    return None


def import_dataset(
    kind: str, source: Path, home: Path, options: ImportOptions | None = None
) -> Manifest:
    """Write HOME/raw/DatasetNNN_Name/dataset.json for a data set that lies anywhere.

    Args:
        kind: "folder" (images/ + labels/), "msd" (Medical Segmentation Decathlon), "nnunet", or a
            published layout such as "isic".
        source: The folder.
        home: The home folder.
        options: Name, copying, channels, labels, patients, size.

    Returns:
        The data set as it can be read from now on.

    Raises:
        UsageError: Unknown kind, or a name of the wrong form.
        BadDataError: The folder has another layout, or no case at all.
    """
    options = options or ImportOptions()
    source = Path(source).expanduser().absolute()
    if not source.is_dir():
        raise BadDataError(f"{source}: no such folder.")
    scanners: Mapping[str, Callable[[Path, ImportOptions, Path], Source]] = {
        "folder": lambda path, chosen, _: scan_folder(path, chosen.labels, chosen.channels),
        "msd": lambda path, _, target: scan_msd(path, target),
        "nnunet": lambda path, _, __: _scan_nnunet(path),
        **{name: _published(name) for name in PUBLISHED},
    }
    if kind not in scanners:
        raise UsageError(f"there is no layout {kind!r}; {nearest(kind, scanners)}")
    _check_options(kind, options)
    target = Path(home) / "raw" / dataset_name(options.name, source, Path(home))
    found = scanners[kind](source, options, target)
    content = found.dataset_json(_patients(found, options))
    if options.copy:
        content["dataset"] = _copy(content["dataset"], target)
    write_json(target / "dataset.json", content)
    _report(found, target)
    return read_manifest(target)


def renew_import(folder: Path) -> None:
    """Take in what came to a plain folder, or left it, since it was imported.

    Args:
        folder: HOME/raw/DatasetNNN_Name; one of another kind, or a copy, is left as it is.

    Raises:
        BadDataError: A new case has no patient, where the import named patients.
    """
    content = read_json(folder / "dataset.json")
    source, listed = Path(str(content.get("source", ""))), content.get("dataset")
    if not source.is_absolute() or not source.is_dir() or not isinstance(listed, dict):
        return
    images = [image for entry in listed.values() for image in entry["images"]]
    if recognise_layout(source) != "folder" or not all(Path(each).is_absolute() for each in images):
        return
    # names of labels stay as they are, so label maps need not be read
    found = scan_folder(source, list(content["labels"]), ()).dataset_json({})["dataset"]
    if found == listed:
        return
    patients = content.get("patients") or {}
    strangers = sorted(set(found) - set(patients)) if patients else []
    if strangers:
        raise BadDataError(
            f"{source}: {', '.join(strangers[:5])} came after the import, which names a patient "
            f"for every case. Import again with: medssm import folder {source} --name "
            f"{folder.name} --patient RE (or --patients FILE)"
        )
    write_json(folder / "dataset.json", {**content, "numTraining": len(found), "dataset": found})
    say("%s changed since its import: %d case(s) came, %d left.", source,
        len(set(found) - set(listed)), len(set(listed) - set(found)))  # fmt: skip


def _published(name: str) -> Callable[[Path, ImportOptions, Path], Source]:
    def scan(source: Path, options: ImportOptions, target: Path) -> Source:
        arguments = {"size": options.size} if name in RESIZED else {}
        found: Source = PUBLISHED.load(name)(source, target, **arguments)
        return found

    return scan


def _check_options(kind: str, options: ImportOptions) -> None:
    if kind in PUBLISHED and (options.labels or options.channels):
        raise UsageError(f"import {kind}: its labels and channels are known; leave them out.")
    if options.size is not None and (kind not in RESIZED or options.size < 8):
        raise UsageError(
            f"--size {options.size}: expected 8 or more, and a layout whose pictures are written "
            f"anew ({', '.join(RESIZED)}). Others are resampled by the plan: planner.spacing_mm=..."
        )


def _scan_nnunet(source: Path) -> Source:
    manifest = read_manifest(source)
    return Source(
        channels=dict(manifest.channels),
        labels=dict(manifest.content["labels"]),
        file_ending=manifest.file_ending,
        cases={name: (case.images, case.label) for name, case in manifest.cases.items()},
        extra={
            key: value
            for key, value in manifest.content.items()
            if key not in ("channel_names", "labels", "file_ending", "dataset", "numTraining")
        },
    )


def dataset_name(wish: str | None, source: Path, home: Path) -> str:
    """DatasetNNN_Name of a source: the wish, the folder's own name, or its word and a free number.

    Raises:
        UsageError: The wish is no such name.
    """
    if wish is not None:
        if not _NAME.match(wish):
            raise UsageError(
                f"--name {wish!r}: expected DatasetNNN_Name with three digits, e.g. "
                "Dataset004_Hippocampus."
            )
        return wish
    if match := _NAME.match(source.name):
        return match[0]
    for folder in sorted((home / "raw").glob("Dataset*")) if (home / "raw").is_dir() else ():
        marker = folder / "dataset.json"
        if marker.is_file() and f'"{source}"' in marker.read_text(encoding="utf-8"):
            # the same folder again keeps its number
            return folder.name
    # what an import left that did not come to its end has no dataset.json and holds no number
    held = {file.parent.name for file in (home / "raw").glob("Dataset*/dataset.json")}
    taken = {int(match[1]) for name in held if (match := _NAME.match(name))}
    number = next(n for n in range(501, 1000) if n not in taken)
    word = re.sub(r"\W+", "_", source.name).strip("_") or "data"
    return f"Dataset{number:03d}_{word}"


def _patients(found: Source, options: ImportOptions) -> dict[str, str]:
    if options.patient is not None and options.patients is not None:
        raise UsageError("take --patient or --patients, not both.")
    if options.patient is not None:
        return patients_by_pattern(found.cases, options.patient)
    if options.patients is not None:
        return patients_by_table(found.cases, options.patients)
    return {}


def _copy(cases: Mapping[str, Any], target: Path) -> dict[str, Any]:
    copied = {}
    for name, entry in cases.items():
        images = [_copy_file(Path(image), target / "imagesTr") for image in entry["images"]]
        label = _copy_file(Path(entry["label"]), target / "labelsTr") if entry["label"] else None
        copied[name] = {"images": images, "label": label}
    return copied


def _copy_file(file: Path, folder: Path) -> str:
    if not file.is_file():
        return str(file)
    with atomic_path(folder / file.name) as partial:
        shutil.copyfile(file, partial)
    return f"{folder.name}/{file.name}"


def _report(found: Source, target: Path) -> None:
    for note in found.notes:
        warn("%s", note)
    say("%s: %d cases, labels %s.", target.name, len(found.cases), ", ".join(found.labels))
