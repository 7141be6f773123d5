"""Slices and planes of a raw measurement, put together when they are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.kspace.h5_file import open_h5

# acquisitions fetched at once
_PIECE = 256


@dataclass(frozen=True)
class Lines:
    """Where each acquisition belongs.

    Args:
        index: Its number in the file.
        columns: Of k-space.
        partitions: The second phase encoding.
        slices: The slice.
        weight: One over how often the position was acquired.
        reverse: Whether it was read backwards.
    """

    index: np.ndarray
    columns: np.ndarray
    partitions: np.ndarray
    slices: np.ndarray
    weight: np.ndarray
    reverse: np.ndarray


@dataclass(frozen=True)
class RawSlices:
    """Slices of a two-dimensional measurement.

    Args:
        path: The file.
        group: Of the acquisitions.
        lines: Where they belong.
        matrix: (coils, read-out with oversampling, columns).
        rows: Of the read-out without oversampling.
    """

    path: Path
    group: str
    lines: Lines
    matrix: tuple[int, int, int]
    rows: int

    def read(self, index: int) -> np.ndarray:
        """Samples of a slice, (coils, rows, columns)."""
        kspace = np.zeros(self.matrix, dtype=np.complex64)
        here = np.flatnonzero(self.lines.slices == index)
        for each, samples, first in _acquisitions(self.path, self.group, self.lines, here,
                                                  self.matrix[1]):  # fmt: skip
            rows = slice(first, first + samples.shape[1])
            kspace[:, rows, self.lines.columns[each]] += samples * self.lines.weight[each]
        return _without_oversampling(kspace, self.rows)

    def reference(self, index: int) -> np.ndarray | None:  # noqa: ARG002 - as every source
        """Raw files carry none."""
        return None


@dataclass(frozen=True)
class RawPlanes:
    """Planes (partitions, columns) of a three-dimensional measurement, one a read-out position.

    Args:
        path: The file.
        group: Of the acquisitions.
        lines: Where they belong.
        matrix: (coils, partitions, columns).
        read_out: Samples of a line with oversampling.
        planes: Positions without oversampling.
    """

    path: Path
    group: str
    lines: Lines
    matrix: tuple[int, int, int]
    read_out: int
    planes: int

    def read(self, index: int) -> np.ndarray:
        """Samples of a plane: the centred orthonormal inverse transform of each line, at a point.

        All lines are gone through, a few at a time: memory stays small, the file is read anew.
        """
        size = self.read_out
        position = index + (size // 2 - self.planes // 2)
        steps = np.arange(size) - size // 2
        wave = np.exp(2j * np.pi * steps * (position - size // 2) / size) / np.sqrt(size)
        kspace = np.zeros(self.matrix, dtype=np.complex64)
        every = np.arange(len(self.lines.index))
        for each, samples, first in _acquisitions(self.path, self.group, self.lines, every, size):
            value = samples @ wave[first : first + samples.shape[1]]
            place = (self.lines.partitions[each], self.lines.columns[each])
            kspace[:, place[0], place[1]] += value * self.lines.weight[each]
        return kspace

    def reference(self, index: int) -> np.ndarray | None:  # noqa: ARG002 - as every source
        """Raw files carry none."""
        return None


def _acquisitions(
    path: Path, group: str, lines: Lines, which: np.ndarray, read_out: int
) -> Iterator[tuple[int, np.ndarray, int]]:
    """(number in `lines`, samples (coils, n), row of the first sample) of acquisitions."""
    with open_h5(path) as file:
        data = file[f"{group}/data"]
        for start in range(0, len(which), _PIECE):
            piece = which[start : start + _PIECE]
            for each, record in zip(piece, data[lines.index[piece]], strict=True):
                samples, centre = _samples(path, record, int(lines.index[each]))
                if lines.reverse[each]:
                    samples, centre = samples[:, ::-1], samples.shape[1] - 1 - centre
                first = read_out // 2 - centre
                if first < 0 or first + samples.shape[1] > read_out:
                    raise BadDataError(
                        f"{path}: acquisition {int(lines.index[each])} has {samples.shape[1]} "
                        f"samples with the centre at {centre}. Expected them to fit {read_out} by "
                        "encodedSpace; correct the header or export the measurement again."
                    )
                yield int(each), samples, first


def _samples(path: Path, record: Any, number: int) -> tuple[np.ndarray, int]:
    """Complex samples of an acquisition without those to be discarded, and its centre sample."""
    head = record["head"]
    coils, count = int(head["active_channels"]), int(head["number_of_samples"])
    values = np.asarray(record["data"], dtype=np.float32)
    if values.size != 2 * coils * count:
        raise BadDataError(
            f"{path}: acquisition {number} holds {values.size} values. Expected {2 * coils * count}"
            f" for {coils} coils of {count} samples; export the measurement again."
        )
    samples = values.view(np.complex64).reshape(coils, count)
    before, after = int(head["discard_pre"]), int(head["discard_post"])
    return samples[:, before : count - after], int(head["center_sample"]) - before


def _without_oversampling(kspace: np.ndarray, rows: int) -> np.ndarray:
    """Cut the image to its centre rows; orthonormal, so that samples keep their scale."""
    before = kspace.shape[1]
    if rows == before:
        return kspace
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, 1), axis=1), 1)
    first = before // 2 - rows // 2
    image = image[:, first : first + rows] * np.sqrt(before)
    samples = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, 1), axis=1), 1) / np.sqrt(rows)
    return np.asarray(samples, dtype=np.complex64)
