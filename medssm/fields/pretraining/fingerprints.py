"""What a volume is recognised by: a hash of its voxels, and a thumbnail for its near doubles."""

import base64
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from medssm.data.dicom.headers import blake

EDGE = 32
# mean difference of thumbnails below which two volumes are the same scan: 8 HU
NEAR = 1.0
_HU_A_LEVEL = 8


def pixel_hash(voxels: np.ndarray) -> str:
    """A hash of int16 voxels in canonical orientation, whatever file they came in."""
    head = "x".join(map(str, voxels.shape)).encode()
    return blake(head + np.ascontiguousarray(voxels, dtype="<i2").tobytes())


def thumbnail(voxels: np.ndarray, low: float, high: float) -> np.ndarray:
    """A volume as 32³ bytes, means over cells.

    Args:
        voxels: Canonical orientation, the whole volume.
        low: The value of 0.
        high: The value of 255.
    """
    small: np.ndarray = voxels.astype(np.float32, copy=False)
    for axis in range(3):
        size = small.shape[axis]
        edges = np.linspace(0, size, EDGE + 1).astype(int)[:-1]
        if size >= EDGE:
            widths = np.diff(np.append(edges, size)).astype(np.float32)
            shape = [1, 1, 1]
            shape[axis] = EDGE
            small = np.add.reduceat(small, edges, axis=axis) / widths.reshape(shape)
        else:
            small = np.take(small, edges, axis=axis)
    scaled = (small - low) / max(high - low, 1e-6) * 255
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def hu_thumbnail(voxels: np.ndarray) -> np.ndarray:
    """The thumbnail of HU, 8 HU a level."""
    return thumbnail(voxels, -1024, -1024 + _HU_A_LEVEL * 255)


def pack_thumbnail(picture: np.ndarray) -> str:
    """A thumbnail as text."""
    return base64.b64encode(zlib.compress(picture.tobytes(), 6)).decode("ascii")


def unpack_thumbnail(text: str) -> np.ndarray:
    """The thumbnail that `pack_thumbnail` wrote."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)


def near_pairs(pictures: Mapping[str, np.ndarray]) -> list[tuple[str, str]]:
    """Pairs of volumes whose thumbnails differ by less than `NEAR` levels on average.

    The difference of two means is never larger than the mean difference, so only neighbours in
    the order of means are compared.
    """
    order = sorted(pictures, key=lambda name: (float(pictures[name].mean()), name))
    means = [float(pictures[name].mean()) for name in order]
    pairs: list[tuple[str, str]] = []
    for index, name in enumerate(order):
        for other in range(index + 1, len(order)):
            if means[other] - means[index] >= NEAR:
                break
            if _distance(pictures[name], pictures[order[other]]) < NEAR:
                pairs.append((min(name, order[other]), max(name, order[other])))
    return sorted(pairs)


def near_any(picture: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Whether a thumbnail is a near double of any of some others."""
    return any(_distance(picture, other) < NEAR for other in others)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16).ravel() - other.astype(np.int16).ravel()).mean())
