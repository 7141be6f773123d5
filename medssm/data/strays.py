"""What lies in a data set's folders and belongs to no case."""

from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import is_temporary
from medssm.data.findings import Finding
from medssm.data.manifest import Manifest
from medssm.data.readers import reader_of


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
    count = _values(path)
    if count > len(manifest.labels.values) * 4 + 8:
        return Finding(
            "", str(path), "wrong file", "warning", f"an image ({count} values) among the labels",
            "a label map", "move it to the images, and put its label map here",
        )  # fmt: skip
    return Finding("", str(path), "no image", "warning", "a label without an image", "a pair",
                   "add its image, or move it away")  # fmt: skip


def _values(path: Path) -> int:
    try:
        return len(np.unique(reader_of(path).array(path)))
    except BadDataError:
        # unreadable and no case's: that it has no image is all there is to say
        return 0
