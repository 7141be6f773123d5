"""BART's cfl/hdr pair: complex64, column-major, dimensions as a line of text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import write_bytes, write_text
from medssm.data.kspace.sampling import find_sampling
from medssm.data.kspace.side_car import read_side_car
from medssm.data.kspace.volume import KspaceVolume

# read-out, two phase encodings, coils; further ones but slices must be 1
_COILS, _SLICES = 3, 13


def read_dimensions(header: Path) -> tuple[int, ...]:
    """The dimensions of a .hdr file.

    Raises:
        BadDataError: It is missing or has no line of whole numbers.
    """
    if not header.is_file():
        raise BadDataError(
            f"{header}: the file does not exist. Expected BART's header beside the .cfl."
        )
    for line in header.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if words and not line.startswith("#") and all(word.isdigit() for word in words):
            return tuple(map(int, words))
    raise BadDataError(
        f"{header}: no line of dimensions. Expected whole numbers, e.g. 1 230 180 8."
    )


def map_cfl(path: Path) -> np.ndarray:
    """The array of a .cfl without reading it, in BART's order of dimensions.

    Raises:
        BadDataError: The length does not fit the header.
    """
    dimensions = read_dimensions(path.with_suffix(".hdr"))
    expected = 8 * math.prod(dimensions)
    found = path.stat().st_size if path.is_file() else -1
    if found != expected or not expected:
        raise BadDataError(
            f"{path}: {found:,} bytes. Expected {expected:,} for {' × '.join(map(str, dimensions))}"
            " complex64 by its .hdr; copy both files again."
        )
    return np.memmap(path, dtype=np.complex64, mode="r", shape=dimensions, order="F")


def write_cfl(path: Path, values: np.ndarray) -> None:
    """Write an array as .cfl and .hdr; its axes are BART's dimensions in order."""
    padded = (*values.shape, *(1,) * (16 - values.ndim))
    write_text(path.with_suffix(".hdr"), "# Dimensions\n" + " ".join(map(str, padded)) + "\n")
    write_bytes(path, np.asarray(values, dtype=np.complex64).tobytes(order="F"))


@dataclass(frozen=True)
class CflSource:
    """Slices of a cfl.

    Args:
        path: The .cfl.
        slab: Whether all three first dimensions are filled: planes along the read-out then.
    """

    path: Path
    slab: bool

    def read(self, index: int) -> np.ndarray:
        """Samples of a slice, (coils, H, W)."""
        values = _four(map_cfl(self.path))
        if self.slab:
            size = values.shape[0]
            steps = np.arange(size) - size // 2
            wave = np.exp(2j * np.pi * steps * (index - size // 2) / size) / np.sqrt(size)
            plane: np.ndarray = np.zeros(values.shape[1:4], dtype=np.complex64)
            for step in range(size):
                plane += values[step, :, :, :, 0] * wave[step].astype(np.complex64)
        else:
            whole = np.asarray(values[..., index])
            plane = whole.reshape(*_plane_shape(values.shape[:3]), values.shape[3])
        return np.moveaxis(np.asarray(plane), -1, 0)

    def reference(self, index: int) -> np.ndarray | None:  # noqa: ARG002 - as every source
        """A cfl carries none."""
        return None


def open_cfl(path: Path) -> KspaceVolume:
    """Understand a .cfl with its .hdr.

    Raises:
        BadDataError: The pair is incomplete or cut off, or has dimensions beyond coils and slices.
    """
    mapped = map_cfl(path)
    further = {
        number: size
        for number, size in enumerate(mapped.shape)
        if size > 1 and number > _COILS and number != _SLICES
    }
    if further:
        raise BadDataError(
            f"{path}: BART's dimensions {sorted(further)} are filled. Expected only 0 to 2 (space),"
            " 3 (coils) and 13 (slices); cut the rest off with: bart slice"
        )
    values = _four(mapped)
    slab = all(size > 1 for size in values.shape[:3])
    plane = values.shape[1:3] if slab else _plane_shape(values.shape[:3])
    slices = values.shape[0] if slab else values.shape[4]
    source = CflSource(path, slab)
    sampling = find_sampling(source.read, slices)
    notes = ("planes of both phase encodings, one for each read-out position",) if slab else ()
    return KspaceVolume(
        path=path,
        name=path.stem,
        layout="bart",
        shape=(slices, values.shape[3], *plane),
        source=source,
        mask=sampling.mask,
        acs=sampling.acs,
        padding=sampling.padding,
        notes=notes,
        **read_side_car(path),
    )


def _four(values: np.ndarray) -> np.ndarray:
    """(x, y, z, coils, slices): the filled dimensions."""
    shape = (*values.shape, *(1,) * (_SLICES + 1 - values.ndim))
    return values.reshape(*shape[:4], shape[_SLICES], order="F")


def _plane_shape(space: Sequence[int]) -> tuple[int, int]:
    filled = [size for size in space if size > 1]
    return (filled[0] if filled else 1), (filled[1] if len(filled) > 1 else 1)
