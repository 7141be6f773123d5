"""A small labelled data set in nnU-Net's raw format, from a seed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

NAME = "Dataset007_Blobs"


def make_raw_dataset(
    root: Path,
    cases: int = 4,
    seed: int = 0,
    regions: bool = False,
    channels: Sequence[str] = ("CT", "T2"),
) -> Path:
    """Write anisotropic volumes with two nested blobs in a field of zeros.

    Returns:
        The folder with dataset.json.
    """
    folder = root / "raw" / NAME
    rng = np.random.default_rng(seed)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for index in range(cases):
        shape = (20 + 2 * index, 24, 10 + index)
        affine = np.diag([0.8, 1.0 + 0.1 * index, 3.0, 1.0])
        affine[:3, 3] = (-10, 5, 2)
        label = _blobs(shape)
        for channel in range(len(channels)):
            image = rng.normal(100 * (channel + 1), 10, shape) + 50 * label
            image[:2] = image[:, -3:] = 0
            _save(image.astype(np.float32), affine, folder / "imagesTr", f"c{index}_000{channel}")
        _save(label.astype(np.uint8), affine, folder / "labelsTr", f"c{index}")
    labels: dict[str, Any] = {"background": 0, "shell": 1, "core": 2}
    content: dict[str, Any] = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {"background": 0, "whole": [1, 2], "core": 2} if regions else labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    if regions:
        content["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def _blobs(shape: tuple[int, ...]) -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    return (radius < 0.7).astype(np.int16) + (radius < 0.4)


def _save(array: np.ndarray, affine: np.ndarray, folder: Path, name: str) -> None:
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    nibabel.save(image, folder / f"{name}.nii.gz")
