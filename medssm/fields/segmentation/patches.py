"""Patches from a preprocessed store: patch i of epoch e is a function of (seed, e, i)."""

import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from medssm.core.errors import BadDataError
from medssm.data.blosc_array import open_array
from medssm.data.plain_pickle import Maker, PlainUnpickler
from medssm.training.order import STREAM_SAMPLES, SampleKey, seeded

# what lies outside of the crop to nonzero, in nnU-Net's stores
_OUTSIDE = -1
_CACHE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Stored:
    """One case of a store.

    Args:
        image: (C, *S), read when it is sliced.
        segmentation: (1, *S).
        locations: Label value or region to voxels (N, 4) where it is found.
    """

    image: Any
    segmentation: Any
    locations: Mapping[Any, np.ndarray]


class Store:
    """Cases of a folder in nnU-Net's blosc2 format, ours or stock.

    Args:
        folder: The folder.
        names: Cases that will be asked for; all must be there.
        in_memory: Keep small data sets unpacked.

    Raises:
        BadDataError: A case is missing (a store filled by half), with the command that mends it.
    """

    def __init__(self, folder: Path, names: Sequence[str], in_memory: bool = True) -> None:
        self.folder, self.names = folder, tuple(names)
        missing = [name for name in names if not (folder / f"{name}.pkl").is_file()]
        if missing:
            raise BadDataError(
                f"{folder}: {len(missing)} of {len(names)} cases are missing ({missing[0]}, …). "
                "Run preprocess again; it does what is missing."
            )
        size = sum(self._bytes(name) for name in names[:8]) / max(1, len(names[:8])) * len(names)
        self.in_memory = in_memory and size < _CACHE_BYTES
        # a method cache would keep the whole store alive in every copy of a worker
        self._load = lru_cache(maxsize=None if self.in_memory else 0)(self._read)

    def __getitem__(self, name: str) -> Stored:
        return self._load(name)

    def _bytes(self, name: str) -> float:
        return float(np.prod(open_array(self.folder / f"{name}.b2nd").shape)) * 5

    def _read(self, name: str) -> Stored:
        parts = []
        for ending in (".b2nd", "_seg.b2nd"):
            file = self.folder / (name + ending)
            array = open_array(file)
            try:
                parts.append(array[:] if self.in_memory else array)
            except Exception as error:
                raise BadDataError(
                    f"{file}: damaged ({error}). Delete it and run preprocess again."
                ) from error
        properties = read_properties(self.folder / f"{name}.pkl")
        return Stored(parts[0], parts[1], properties.get("class_locations", {}))


class _PropertiesUnpickler(PlainUnpickler):
    """Arrays and plain values only: a store may come from elsewhere."""

    admitted: ClassVar[Mapping[tuple[str, str], Any]] = {
        ("builtins", "slice"): slice,
        ("builtins", "tuple"): tuple,
        ("builtins", "list"): list,
        ("_codecs", "encode"): Maker(codecs.encode),
    }


def read_properties(file: Path) -> dict[str, Any]:
    """Read a case's properties without running what a pickle may hold.

    Raises:
        BadDataError: It is damaged, or holds more than arrays and plain values.
    """
    try:
        with file.open("rb") as stream:
            content = _PropertiesUnpickler(stream).load()
    except Exception as error:
        raise BadDataError(
            f"{file}: not readable as plain data ({error}). Run preprocess again."
        ) from error
    return dict(content)


@dataclass(frozen=True)
class Cut:
    """How patches are cut.

    Args:
        size: Voxels to cut; larger than the patch where it is rotated afterwards.
        patch_size: Voxels of the patch itself.
        batch_size: Samples of a batch; its last third is centred on foreground.
        oversample: Share of the batch that is centred on foreground.
        annotated: Key of class_locations for "any annotated voxel" (with an ignore label).
    """

    size: tuple[int, ...]
    patch_size: tuple[int, ...]
    batch_size: int
    oversample: float = 0.33
    annotated: Any = None


class PatchSamples(Dataset[dict[str, Tensor]]):
    """Training patches.

    Args:
        store: Where the cases are.
        names: Training cases.
        cut: How to cut.
        transforms: Augmentation from the cut to the patch, or None.
        seed: Of everything random.
    """

    def __init__(
        self,
        store: Store,
        names: Sequence[str],
        cut: Cut,
        transforms: Callable[..., dict[str, Any]] | None,
        seed: int,
    ) -> None:
        self.store, self.names, self.cut = store, tuple(names), cut
        self.transforms, self.seed = transforms, seed

    def __getitem__(self, key: SampleKey) -> dict[str, Tensor]:
        with seeded(self.seed, STREAM_SAMPLES, key.epoch, key.number) as rng:
            case = self.store[self.names[rng.integers(len(self.names))]]
            slot = key.number % self.cut.batch_size
            foreground = _wants_foreground(slot, self.cut, rng)
            low = _corner(case, self.cut, foreground, rng)
            image, segmentation = _slice(case, low, self.cut.size)
            tensors = {
                "image": torch.from_numpy(image),
                "segmentation": torch.from_numpy(segmentation),
            }
            if self.transforms is not None:
                tensors = self.transforms(**tensors)
            target = tensors["segmentation"].to(torch.int16).clamp_min(0)
            return {"image": tensors["image"].float().contiguous(), "target": target}


def _wants_foreground(slot: int, cut: Cut, rng: np.random.Generator) -> bool:
    """nnU-Net's rule: the last third of a batch; of a batch too small for it, by chance."""
    first = round(cut.batch_size * (1 - cut.oversample))
    certain = slot >= first
    return certain if first < cut.batch_size else bool(rng.random() < cut.oversample)


def _corner(case: Stored, cut: Cut, foreground: bool, rng: np.random.Generator) -> tuple[int, ...]:
    shape = case.image.shape[1:]
    if len(cut.size) < len(shape):
        return _corner_2d(case, cut, foreground, rng)
    ranges = _ranges(shape, cut)
    voxel = _voxel(case, cut, foreground, rng)
    if voxel is None:
        return tuple(int(rng.integers(low, high + 1)) for low, high in ranges)
    centred = [int(v) - size // 2 for v, size in zip(voxel, cut.size, strict=True)]
    return tuple(max(low, at) for at, (low, _) in zip(centred, ranges, strict=True))


def _corner_2d(
    case: Stored, cut: Cut, foreground: bool, rng: np.random.Generator
) -> tuple[int, ...]:
    """A slice of a volume, then a corner in it."""
    ranges = _ranges(case.image.shape[2:], cut)
    voxel = _voxel(case, cut, foreground, rng)
    if voxel is None:
        corner = [int(rng.integers(low, high + 1)) for low, high in ranges]
        return (int(rng.integers(case.image.shape[1])), *corner)
    centred = [int(v) - size // 2 for v, size in zip(voxel[1:], cut.size, strict=True)]
    return (int(voxel[0]), *(max(low, at) for at, (low, _) in zip(centred, ranges, strict=True)))


def _ranges(shape: Sequence[int], cut: Cut) -> list[tuple[int, int]]:
    """Corners that keep the patch inside as far as it fits, the cut's margin outside allowed."""
    ranges = []
    for size, wanted, patch in zip(shape, cut.size, cut.patch_size, strict=True):
        need = wanted - patch
        if need + size < wanted:
            need = wanted - size
        ranges.append((-(need // 2), size + need // 2 + need % 2 - wanted))
    return ranges


def _voxel(case: Stored, cut: Cut, foreground: bool, rng: np.random.Generator) -> np.ndarray | None:
    """A voxel of a random class, of any annotated place, or None for anywhere."""
    keys = [key for key, found in case.locations.items() if len(found)]
    if foreground:
        keys = [key for key in keys if key != cut.annotated] or keys
    else:
        keys = [key for key in keys if key == cut.annotated and cut.annotated is not None]
    if not keys:
        return None
    found = case.locations[keys[int(rng.integers(len(keys)))]]
    return np.asarray(found[int(rng.integers(len(found)))][1:])


def _slice(case: Stored, low: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    image, segmentation = case.image, case.segmentation
    if len(low) > len(size):
        plane = low[0]
        image, segmentation = image[:, plane], segmentation[:, plane]
        low = low[1:]
    shape = image.shape[1:]
    inner = tuple(
        slice(max(0, at), min(full, at + n)) for at, n, full in zip(low, size, shape, strict=True)
    )
    pad = [(0, 0)] + [
        (max(0, -at), max(0, at + n - full)) for at, n, full in zip(low, size, shape, strict=True)
    ]
    cut_image = np.asarray(image[(slice(None), *inner)], dtype=np.float32)
    cut_label = np.asarray(segmentation[(slice(None), *inner)], dtype=np.int16)
    return (
        np.ascontiguousarray(np.pad(cut_image, pad)),
        np.ascontiguousarray(np.pad(cut_label, pad, constant_values=_OUTSIDE)),
    )


def centre_patch(case: Stored, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The patch at the middle of a case's foreground, always the same.

    Returns:
        Image (C, *size) and label map (1, *size).
    """
    shape = case.image.shape[1:]
    found = [np.asarray(where)[:, 1:] for where in case.locations.values() if len(where)]
    middle = np.median(np.concatenate(found), axis=0) if found else np.array(shape) // 2
    if len(size) < len(shape):
        low = [int(middle[0]), *_placed(middle[1:], size, shape[1:])]
    else:
        low = _placed(middle, size, shape)
    image, label = _slice(case, low, size)
    return torch.from_numpy(image), torch.from_numpy(label).clamp_min(0)


def _placed(middle: np.ndarray, size: Sequence[int], shape: Sequence[int]) -> list[int]:
    return [
        -((n - full) // 2) if full <= n else int(min(max(0, m - n // 2), full - n))
        for m, n, full in zip(middle, size, shape, strict=True)
    ]
