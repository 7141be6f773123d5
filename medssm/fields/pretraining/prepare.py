"""One volume of an archive into the store: a pure function of its files and the recipe."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.data.dicom.volumes import read_stack
from medssm.data.readers.size import check_memory
from medssm.data.reasons import Flag, Reason
from medssm.data.volume_files import BLOCK, pack_bits
from medssm.fields.pretraining.archive_config import PrepareConfig
from medssm.fields.pretraining.canonical import (
    Frame,
    body_box,
    body_mask,
    crop,
    resample,
    to_canonical,
)
from medssm.fields.pretraining.fingerprints import (
    hu_thumbnail,
    pack_thumbnail,
    pixel_hash,
    thumbnail,
)
from medssm.fields.pretraining.image_files import NotAVolumeError, read_image
from medssm.fields.pretraining.places import content_of, place_named
from medssm.fields.pretraining.quality import assess, looks_like_hu, looks_like_labels
from medssm.fields.pretraining.selection import VolumeSpec

HU_RANGE = (-1024, 3071)
# numbers that a volume without HU is spread over
_LEVELS = 16383
_FLOAT = 4
FORMAT = 1


@dataclass(frozen=True)
class Scaling:
    """Stored number times slope plus intercept is the value; kind says whether that is HU."""

    kind: str
    slope: float
    intercept: float


@dataclass(frozen=True)
class Canonical:
    """A volume in the one frame, whole and on its own grid.

    Args:
        frame: int16 voxels, RAS.
        scaling: What they mean.
        flags: What was odd so far.
        slices: Planes along the axis of the stack.
        source: As the files have it.
    """

    frame: Frame
    scaling: Scaling
    flags: tuple[str, ...]
    slices: int
    source: Frame


def canonical_volume(spec: VolumeSpec, source: Path, modality: str) -> Canonical:
    """Read a volume into the one frame, without any interpolation.

    Raises:
        NotAVolumeError: It is whole, and nothing to learn from.
        BadDataError: It cannot be read or decoded.
    """
    stored, flags, slices = _read(spec, source)
    _refuse_nothing(stored.voxels)
    is_hu = _is_hu(spec, stored.voxels, modality)
    frame = to_canonical(stored)
    if is_hu:
        frame, scaling, clipped = _as_hu(frame)
        flags = [*flags, str(Flag.CLIPPED)] if clipped else flags
    else:
        frame, scaling = _as_levels(frame)
    return Canonical(frame, scaling, tuple(flags), slices, stored)


def prepare(
    spec: VolumeSpec, source: Path, config: PrepareConfig, modality: str
) -> tuple[np.ndarray, dict[str, Any]]:
    """Voxels and record of a volume.

    Args:
        spec: Which.
        source: The archive's folder.
        config: The recipe.
        modality: "CT" refuses what is not HU; "any" keeps it, marked.

    Returns:
        int16 voxels (x, y, z), RAS; and what the sidecar holds.

    Raises:
        NotAVolumeError: It is whole, and nothing to learn from.
        BadDataError: It cannot be read or decoded.
    """
    found = canonical_volume(spec, source, modality)
    frame, is_hu = found.frame, found.scaling.kind == "hu"
    mask, stride = body_mask(frame) if is_hu else (None, None)
    quality = assess(frame.voxels, frame.spacing_mm, mask, found.slices)
    known = {
        "pixel_hash": pixel_hash(frame.voxels),
        "thumbnail": pack_thumbnail(picture(frame.voxels, is_hu)),
    }
    box = tuple((0, size) for size in frame.voxels.shape)
    if mask is not None and stride is not None and config.crop_body:
        box = body_box(frame, mask, stride, config.margin_mm)
        frame = crop(frame, box)
    if config.spacing_mm is not None:
        frame = resample(frame, config.spacing_mm)
    voxels = np.clip(np.rint(frame.voxels), -(2**15), 2**15 - 1).astype(np.int16)
    record = {
        "format": FORMAT,
        "volume": spec.id,
        "patient": spec.patient,
        "study": spec.study,
        "modality": spec.modality,
        **asdict(found.scaling),
        "shape": list(voxels.shape),
        "spacing_mm": [round(float(each), 6) for each in frame.spacing_mm],
        "affine": frame.affine.round(6).tolist(),
        "source_shape": list(found.source.voxels.shape),
        "source_affine": found.source.affine.round(6).tolist(),
        "box": [list(each) for each in box],
        "statistics": _statistics(voxels, found.scaling),
        "quality": asdict(quality),
        "flags": sorted({*found.flags, *quality.failed}),
        "occupancy": pack_bits(_occupied(voxels, is_hu)),
        **known,
        "sources": list(spec.sources),
        "versions": _versions(),
    }
    return voxels, record


def picture(voxels: np.ndarray, is_hu: bool) -> np.ndarray:
    """The thumbnail of a canonical volume as it is before any crop."""
    if is_hu:
        return hu_thumbnail(voxels)
    low, high = np.percentile(voxels[::2, ::2, ::2], (0.5, 99.5))
    return thumbnail(voxels, float(low), float(high))


def _read(spec: VolumeSpec, source: Path) -> tuple[Frame, list[str], int]:
    """Voxels as stored, flags, and how many planes the stack has."""
    if spec.stack is not None:
        header = spec.stack.first.header
        shape = (header.columns, header.rows, len(spec.stack.slots))
        check_memory(Path(header.place), shape, _FLOAT)
        whole: Callable[[str], bytes] = lambda name: content_of(source, place_named(name))  # noqa: E731
        found = read_stack(spec.stack, whole)
        flags = [str(flag) for flag in found.flags]
        return Frame(found.voxels, found.affine), flags, len(spec.stack.slots)
    assert spec.place is not None
    assert spec.image is not None
    voxels, affine = read_image(source, spec.place, spec.kind, spec.image)
    if voxels.dtype.kind == "c":
        raise NotAVolumeError(Reason.NOT_A_VOLUME, "complex numbers")
    # the axis of the stack is the coarsest one
    axis = int(np.argmax(np.round(spec.image.spacing_mm, 3)[::-1]))
    return Frame(voxels, affine), list(spec.flags), voxels.shape[2 - axis]


def _refuse_nothing(voxels: np.ndarray) -> None:
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise NotAVolumeError(Reason.NOT_FINITE, f"{int((~np.isfinite(voxels)).sum())} voxels")
    if voxels.min() == voxels.max():
        raise NotAVolumeError(Reason.CONSTANT, f"every voxel is {float(voxels.flat[0]):g}")


def _is_hu(spec: VolumeSpec, voxels: np.ndarray, modality: str) -> bool:
    """Whether the values are HU; DICOM says what it claims to be, an image file does not."""
    if spec.stack is None and looks_like_labels(voxels):
        raise NotAVolumeError(Reason.LABEL_MAP, "few whole numbers, equal to their neighbours")
    claims = spec.modality in ("CT", "")
    plausible = claims and looks_like_hu(voxels)
    if not plausible and (modality == "CT" or spec.modality == "CT"):
        raise NotAVolumeError(
            Reason.NOT_HU, f"values {float(voxels.min()):g} to {float(voxels.max()):g}"
        )
    return plausible


def _as_hu(frame: Frame) -> tuple[Frame, Scaling, bool]:
    low, high = HU_RANGE
    clipped = bool(frame.voxels.min() < low or frame.voxels.max() > high)
    voxels = np.clip(np.rint(frame.voxels), low, high).astype(np.int16)
    return Frame(voxels, frame.affine), Scaling("hu", 1.0, 0.0), clipped


def _as_levels(frame: Frame) -> tuple[Frame, Scaling]:
    """Values without a unit of ours as int16; whole numbers that fit stay what they are."""
    voxels = frame.voxels.astype(np.float64)
    low, high = float(voxels.min()), float(voxels.max())
    whole = frame.voxels.dtype.kind in "iu" or np.array_equal(voxels, np.rint(voxels))
    if whole and low >= -(2**15) and high < 2**15:
        return Frame(voxels.astype(np.int16), frame.affine), Scaling("other", 1.0, 0.0)
    slope = (high - low) / _LEVELS
    levels = np.rint((voxels - low) / slope).astype(np.int16)
    return Frame(levels, frame.affine), Scaling("other", slope, low)


def _statistics(voxels: np.ndarray, scaling: Scaling) -> Mapping[str, float]:
    values = voxels.astype(np.float64) * scaling.slope + scaling.intercept
    low, high = np.percentile(values, (0.5, 99.5))
    found = {
        "low": low, "high": high, "mean": values.mean(), "std": values.std(),
        "min": values.min(), "max": values.max(),
    }  # fmt: skip
    return {name: float(f"{float(value):.9g}") for name, value in found.items()}


def _occupied(voxels: np.ndarray, is_hu: bool) -> np.ndarray:
    """Cells in which at least a tenth of the voxels is no air, or above the darkest tenth."""
    bound = -500 if is_hu else voxels.min() + 0.1 * (float(voxels.max()) - float(voxels.min()))
    share: np.ndarray = (voxels > bound).astype(np.float32)
    for axis in range(3):
        edges = np.arange(0, voxels.shape[axis], BLOCK)
        widths = np.diff(np.append(edges, voxels.shape[axis])).astype(np.float32)
        shape = [1, 1, 1]
        shape[axis] = len(edges)
        share = np.add.reduceat(share, edges, axis=axis) / widths.reshape(shape)
    return np.asarray(share >= 0.1)


def _versions() -> Mapping[str, str]:
    from importlib.metadata import version

    from medssm import __version__

    return {"medssm": __version__, "numpy": version("numpy"), "blosc2": version("blosc2")}
