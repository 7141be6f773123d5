"""What lies in a data set's folders and belongs to no case."""

from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import is_temporary
from medssm.data.findings import Finding
from medssm.data.manifest import Manifest
from medssm.data.readers import reader_of

_LOOKED_AT = 20
# times the voxels of the largest label: of another data set
_FAR = 20


def check_folder(manifest: Manifest) -> list[Finding]:
    """Find labels without image, stray files and a wrong numTraining."""
    findings = _strays(manifest)
    declared = manifest.content.get("numTraining")
    if isinstance(declared, int) and declared != len(manifest.cases) and manifest.cases:
        skipped = manifest.content.get("dataset")
        total = len(skipped) if isinstance(skipped, dict) else len(manifest.cases)
        if declared != total:
            findings.append(
                Finding(
                    "", str(manifest.folder / "dataset.json"), "numTraining", "warning",
                    str(declared), str(total), "the files are counted; correct the number",
                )
            )  # fmt: skip
    if not manifest.cases:
        findings.append(
            Finding(
                "", str(manifest.folder), "no case", "error", "no training case",
                f"imagesTr/CASE_0000{manifest.file_ending} and labelsTr/CASE{manifest.file_ending}",
                "put images and labels there, or run: medssm import folder SRC", skippable=False,
            )
        )  # fmt: skip
    return findings


def _strays(manifest: Manifest) -> list[Finding]:
    images = {image.resolve() for case in manifest.cases.values() for image in case.images}
    labels = {case.label.resolve() for case in manifest.cases.values() if case.label}
    findings = []
    for folder, known in ((_home(images), images), (_home(labels), labels)):
        if folder is None or (folder == _home(images) and known is labels):
            continue
        for path in sorted(folder.iterdir()):
            if path.is_dir() or is_temporary(path) or path.resolve() in known:
                continue
            findings.append(_stray(manifest, path, known is labels))
    return findings


def _home(files: set[Path]) -> Path | None:
    folders = {file.parent for file in files}
    return folders.pop() if len(folders) == 1 and next(iter(folders)).is_dir() else None


def _stray(manifest: Manifest, path: Path, among_labels: bool) -> Finding:
    if not path.name.endswith(manifest.file_ending):
        return Finding(
            "", str(path), "stray file", "warning", path.name,
            f"files ending {manifest.file_ending}", "it is passed over; move it away",
        )  # fmt: skip
    if not among_labels:
        return Finding("", str(path), "stray image", "warning", "an image that is no case's",
                       "an image of a case", "name it CASE_0000, or move it")  # fmt: skip
    if odd := _oddity(manifest, path):
        return Finding(
            "", str(path), "wrong file", "warning", odd, "a label map of this data set",
            "move it away; if it stands for a label map, put that there",
        )  # fmt: skip
    return Finding("", str(path), "no image", "warning", "a label without an image", "a pair",
                   "add its image, or move it away")  # fmt: skip


def _oddity(manifest: Manifest, path: Path) -> str:
    """Why a file among the labels is none of this data set's, or nothing."""
    try:
        voxels = reader_of(path).array(path)
        count = len(np.unique(voxels))
        if count > len(manifest.labels.values) * 4 + 8:
            return f"an image ({count} values) among the labels"
        labels = [case.label for case in manifest.cases.values() if case.label is not None]
        shapes = [reader_of(label).header(label).shape for label in labels[:_LOOKED_AT]]
        if shapes and voxels.size > _FAR * max(int(np.prod(shape)) for shape in shapes):
            return f"shape {voxels.shape}, far larger than any label here"
    except BadDataError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""
