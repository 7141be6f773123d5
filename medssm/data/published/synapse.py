"""Synapse multi-organ CT as TransUNet hands it out: slices as .npz, test volumes as .npy.h5."""

import re
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import nibabel
import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.extras import require
from medssm.core.files import atomic_path
from medssm.core.log import Progress
from medssm.data.hdf5_links import REMEDY, member_elsewhere
from medssm.data.source import Source

ORGANS = (
    "aorta", "gallbladder", "left_kidney", "right_kidney", "liver", "pancreas", "spleen", "stomach",
)  # fmt: skip
_SLICE = re.compile(r"^(?P<case>.+)_slice(?P<slice>\d+)$")
_ENDING = ".nii.gz"


def scan_synapse(source: Path, target: Path) -> Source:
    """Stack the training slices to volumes again, so that a patient stays on one side.

    The files say no spacing: a voxel counts as a cube of 1 mm, and no measure in mm holds.

    Args:
        source: Holds train_npz/ (caseNNNN_sliceNNN.npz) and, for the test, test_vol_h5/.
        target: The data set's folder under the home folder; volumes are written as NIfTI.

    Raises:
        BadDataError: No slices, or a file is damaged or of another form.
        MachineError: h5py is needed for the test volumes and not installed.
    """
    slices: dict[str, dict[int, Path]] = {}
    for path in sorted(source.rglob("*.npz")):
        if match := _SLICE.match(path.stem):
            slices.setdefault(match["case"], {})[int(match["slice"])] = path
    if not slices:
        raise BadDataError(
            f"{source}: no caseNNNN_sliceNNN.npz. Expected TransUNet's folders train_npz/ and "
            "test_vol_h5/."
        )
    cases: dict[str, tuple[tuple[Path, ...], Path | None]] = {}
    notes = []
    bar = Progress(len(slices), "stack slices")
    for name, files in slices.items():
        if gaps := sorted(set(range(min(files), max(files) + 1)) - set(files)):
            notes.append(f"{name}: {len(gaps)} slices are missing, the first is {gaps[0]}.")
        pairs = [_read(files[number]) for number in sorted(files)]
        if len({image.shape for image, _ in pairs}) > 1:
            raise BadDataError(f"{files[min(files)]}: slices of {name} are of several sizes.")
        image, label = (np.stack(parts) for parts in zip(*pairs, strict=True))
        cases[name] = _write(target, "Tr", name, image, label)
        bar.step(name)
    for path in sorted(source.rglob("*.h5")):
        image, label = _read(path)
        _write(target, "Ts", path.name.split(".")[0], image, label)
    return Source(
        # clipped and scaled to 0..1 in the files
        {"0": "noNorm"},
        {"background": 0, **{organ: value for value, organ in enumerate(ORGANS, start=1)}},
        _ENDING,
        cases,
        {"source": str(source)},
        tuple(notes),
    )


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as content:
                image, label = content["image"], content["label"]
        else:
            h5py: Any = require("h5py", "synapse")
            with h5py.File(file, "r") as content:
                if (linked := member_elsewhere(content)) is not None:
                    raise ValueError(f"{linked} lies in another file. {REMEDY}")
                image, label = content["image"][:], content["label"][:]
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise BadDataError(
            f"{file}: not readable ({error}). Expected arrays image and label; download it again."
        ) from error
    axes = 2 if file.suffix == ".npz" else 3
    whole = np.all(label == np.rint(label)) and label.min() >= 0 and label.max() <= len(ORGANS)
    if image.shape != label.shape or image.ndim != axes or not whole:
        raise BadDataError(
            f"{file}: image {image.shape}, label {label.shape} with values {label.min():g} to "
            f"{label.max():g}. Expected {axes} axes, equal shapes and labels 0 to {len(ORGANS)}."
        )
    return image.astype(np.float32), label.astype(np.uint8)


def _write(
    target: Path, part: str, name: str, image: np.ndarray, label: np.ndarray
) -> tuple[tuple[Path, ...], Path]:
    files = (
        target / f"images{part}" / f"{name}_0000{_ENDING}",
        target / f"labels{part}" / f"{name}{_ENDING}",
    )
    for file, voxels in zip(files, (image, label), strict=True):
        with atomic_path(file) as partial:
            # the axes of NIfTI are x, y and z
            nibabel.save(nibabel.Nifti1Image(voxels.transpose(2, 1, 0), np.eye(4)), partial)
    return (files[0],), files[1]
