"""A phantom: organs of known shape in a noisy body, to try everything without data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from medssm.core.files import atomic_path, write_json
from medssm.data.manifest import Manifest, read_manifest

LABELS = {"background": 0, "liver": 1, "kidney": 2, "vessel": 3}
# mean intensity of body, liver, kidney, vessel, and how far a case strays from it
_LEVELS = (100.0, 170.0, 235.0, 300.0)
_STRAY = 8.0
_NOISE = 14.0


@dataclass(frozen=True)
class PhantomShape:
    """The grid of a phantom.

    Args:
        size: Voxels along z, y, x; a case strays by a few.
        spacing_mm: Along z, y, x.
    """

    size: tuple[int, int, int] = (24, 44, 44)
    spacing_mm: tuple[float, float, float] = (2.5, 1.5, 1.5)


def make_phantom_dataset(
    folder: Path, cases: int = 20, held_back: int = 5, seed: int = 0,
    shape: PhantomShape | None = None,
) -> Manifest:  # fmt: skip
    """Write a data set in nnU-Net's raw format; the held-back cases go to imagesTs and labelsTs.

    Args:
        folder: DatasetNNN_Name; made.
        cases: Training cases.
        held_back: Cases to predict.
        seed: Case i is a function of (seed, i).
        shape: The grid.

    Returns:
        The data set.
    """
    shape = shape or PhantomShape()
    for index in range(cases + held_back):
        part = "Tr" if index < cases else "Ts"
        name = f"phantom_{index:03d}"
        image, label = phantom(seed, index, shape)
        affine = _affine(seed, index, shape.spacing_mm)
        _write(image, affine, folder / f"images{part}" / f"{name}_0000.nii.gz")
        _write(label, affine, folder / f"labels{part}" / f"{name}.nii.gz")
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "MRI"},
            "labels": LABELS,
            "numTraining": cases,
            "file_ending": ".nii.gz",
            "field": "segmentation",
            "description": f"synthetic phantom, seed {seed}",
            "licence": "CC0-1.0",
        },
    )
    return read_manifest(folder)


def phantom(seed: int, index: int, shape: PhantomShape) -> tuple[np.ndarray, np.ndarray]:
    """One image and its label map.

    Returns:
        Image int16 and label uint8, both (z, y, x).
    """
    rng = np.random.default_rng([seed, index])
    size = tuple(int(n + rng.integers(-2, 3)) for n in shape.size)
    # millimetres from the middle: organs keep their shape whatever the voxels
    grid = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(size, shape.spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*grid, indexing="ij")
    extent = [n * mm / 2 for n, mm in zip(size, shape.spacing_mm, strict=True)]
    label = np.zeros(size, dtype=np.uint8)
    body = _ellipsoid((z, y, x), (0, 0, 0), (2 * extent[0], 0.92 * extent[1], 0.92 * extent[2]))
    scale = min(extent)
    liver = _turned((z, y, x), rng, (0.0, -0.1 * extent[1], -0.42 * extent[2]), 0.12 * scale)
    label[_ellipsoid(liver, (0, 0, 0), _sizes(rng, (0.62, 0.55, 0.42), scale))] = 1
    kidney = _turned((z, y, x), rng, (0.0, 0.15 * extent[1], 0.45 * extent[2]), 0.12 * scale)
    label[_ellipsoid(kidney, (0, 0, 0), _sizes(rng, (0.5, 0.36, 0.26), scale))] = 2
    bend = rng.uniform(-0.15, 0.15) * scale * np.sin(z / extent[0] * rng.uniform(1.0, 2.5))
    place = (rng.uniform(0.4, 0.5) * extent[1], rng.uniform(-0.08, 0.08) * extent[2])
    radius = rng.uniform(0.17, 0.22) * scale
    label[(y - place[0]) ** 2 + (x - place[1] - bend) ** 2 < radius**2] = 3
    label[~body] = 0
    return _intensities(rng, label, body, size), label


def _sizes(rng: np.random.Generator, share: Sequence[float], scale: float) -> tuple[float, ...]:
    return tuple(float(each * scale * rng.uniform(0.85, 1.15)) for each in share)


def _turned(
    axes: Sequence[np.ndarray], rng: np.random.Generator, middle: Sequence[float], stray: float
) -> tuple[np.ndarray, ...]:
    """Coordinates in an organ's own frame: moved and turned in the plane of a slice."""
    z, y, x = (a - m - rng.uniform(-stray, stray) for a, m in zip(axes, middle, strict=True))
    angle = rng.uniform(-0.5, 0.5)
    return z, np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x


def _ellipsoid(
    axes: Sequence[np.ndarray], middle: Sequence[float], radii: Sequence[float]
) -> np.ndarray:
    inside = sum(((a - m) / r) ** 2 for a, m, r in zip(axes, middle, radii, strict=True))
    return np.asarray(inside < 1)


def _intensities(
    rng: np.random.Generator, label: np.ndarray, body: np.ndarray, size: tuple[int, ...]
) -> np.ndarray:
    levels = np.array(_LEVELS) + rng.normal(0, _STRAY, len(_LEVELS))
    image = np.where(body, levels[label], 0.0)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, size), 1.5)
    image += body * 12 * texture / texture.std()
    # partial volume: a border voxel holds some of both sides
    image = ndimage.gaussian_filter(image, 0.6)
    bias = ndimage.zoom(rng.normal(0, 1, (3, 3, 3)), np.array(size) / 3, order=1)
    image *= np.exp(0.08 * bias)
    image += rng.normal(0, _NOISE, size)
    return np.clip(np.round(image), -1000, 3000).astype(np.int16)


def _affine(seed: int, index: int, spacing_mm: Sequence[float]) -> np.ndarray:
    """Scanners disagree about axes: some cases are mirrored, some are oblique."""
    rng = np.random.default_rng([seed, index, 1])
    affine = np.diag([*reversed([float(mm) for mm in spacing_mm]), 1.0])
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    if index % 3 == 1:
        affine[:, 0] *= -1
    if index % 3 == 2:
        angle = rng.uniform(0.05, 0.3)
        turn = np.eye(4)
        turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        affine = turn @ affine
    return affine


def _write(voxels: np.ndarray, affine: np.ndarray, path: Path) -> None:
    image = nibabel.Nifti1Image(np.ascontiguousarray(voxels.transpose()), affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as partial:
        nibabel.save(image, partial)
