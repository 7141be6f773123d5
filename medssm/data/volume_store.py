"""Volumes as chunked int16 files, one each, read a crop at a time."""

import csv
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import blosc2
import numpy as np

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.core.files import digest, read_json
from medssm.data.blosc_array import open_array
from medssm.data.volume_files import BLOCK, unpack_bits, volume_file

Kind = Literal["hu", "other"]
Triple = tuple[int, int, int]
AIR_HU = -1024
COLUMNS = (
    "volume", "patient", "split", "kind", "shape", "spacing_mm", "slope", "intercept", "low",
    "high", "mean", "std", "quality", "histogram_distance", "flags",
)  # fmt: skip
_OPEN_FILES = 64


@dataclass(frozen=True)
class StoredVolume:
    """One row of volumes.csv.

    Args:
        id: Its name, a hash of its sources.
        patient: Whose it is, a pseudonym.
        split: "train" or "val"; whole patients are on one side.
        kind: "hu" where the stored numbers are HU; else slope and intercept lead to the values.
        shape: Voxels along (x, y, z), RAS.
        spacing_mm: Distance of voxels along the same axes.
        slope, intercept: Stored number times slope plus intercept is the value.
        low, high: 0.5 and 99.5 percentiles of the values.
        mean, std: Of the values.
        quality: Share of the checks of quality that it passes.
        histogram_distance: Total variation from the mean histogram of its archive, 0 to 1.
        flags: What was odd.
    """

    id: str
    patient: str
    split: str
    kind: Kind
    shape: Triple
    spacing_mm: tuple[float, float, float]
    slope: float
    intercept: float
    low: float
    high: float
    mean: float
    std: float
    quality: float
    histogram_distance: float
    flags: tuple[str, ...]


class VolumeStore:
    """A folder of volumes with their table.

    Reading is safe from several threads and processes.

    Args:
        folder: Holds `store/` and volumes.csv.
        memory_map: Let the system map the files; cheaper warm, dearer on cold data.
    """

    def __init__(self, folder: Path, memory_map: bool = False) -> None:
        self.folder = Path(folder)
        self._memory_map = memory_map
        self._local = threading.local()
        self._occupied: dict[str, np.ndarray] = {}

    @cached_property
    def volumes(self) -> Mapping[str, StoredVolume]:
        """All usable volumes by id, sorted."""
        return {each.id: each for each in read_table(self.folder / "volumes.csv")}

    @cached_property
    def corpus_hash(self) -> str:
        """A hash over what is in the store and how it is split, for a checkpoint to name."""
        return digest([[each.id, each.split] for each in self.volumes.values()])

    def ids(self, split: str | None = None) -> tuple[str, ...]:
        """The volumes of a split, or all."""
        return tuple(
            name for name, each in self.volumes.items() if split is None or each.split == split
        )

    def read(self, volume: str, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """A crop as stored; what lies outside of the volume is air, or its least number.

        Args:
            volume: Its id.
            start: First voxel along (x, y, z); may be negative.
            size: Voxels along (x, y, z).

        Returns:
            int16 of shape `size`.

        Raises:
            BadDataError: The file is missing or damaged.
            UsageError: There is no such volume.
        """
        facts = self._facts(volume)
        first = [max(0, int(each)) for each in start]
        last = [
            min(full, int(each) + int(edge))
            for full, each, edge in zip(facts.shape, start, size, strict=True)
        ]
        whole = first == [int(each) for each in start] and all(
            stop - begin == int(edge) for begin, stop, edge in zip(first, last, size, strict=True)
        )
        inner = self._slice(volume, first, last)
        if whole:
            return inner
        out = np.full(tuple(int(each) for each in size), self._outside(facts), dtype=np.int16)
        if inner.size:
            into = tuple(
                slice(begin - int(each), begin - int(each) + length)
                for begin, each, length in zip(first, start, inner.shape, strict=True)
            )
            out[into] = inner
        return out

    def values(self, volume: str, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """A crop in its own unit, float32: HU, or what the source's numbers were."""
        facts = self._facts(volume)
        crop = self.read(volume, start, size).astype(np.float32)
        if facts.kind == "hu":
            return crop
        return crop * np.float32(facts.slope) + np.float32(facts.intercept)

    def windowed(
        self,
        volume: str,
        start: Sequence[int],
        size: Sequence[int],
        window_hu: tuple[float, float] = (-175.0, 250.0),
    ) -> np.ndarray:
        """A crop scaled to 0…1 and clipped, float32.

        HU are windowed; other volumes between their own 0.5 and 99.5 percentiles.
        """
        facts = self._facts(volume)
        low, high = window_hu if facts.kind == "hu" else (facts.low, facts.high)
        crop = self.values(volume, start, size)
        crop -= np.float32(low)
        crop /= np.float32(max(high - low, 1e-6))
        return np.clip(crop, 0.0, 1.0, out=crop)

    def start(self, volume: str, size: Sequence[int], rng: np.random.Generator) -> Triple:
        """Where a random crop begins: centred on an occupied cell, inside where it fits.

        Args:
            volume: Its id.
            size: Voxels along (x, y, z); along an axis that is shorter the crop is centred.
            rng: Decides; the same state gives the same crop.
        """
        facts = self._facts(volume)
        cells = np.argwhere(self.occupied(volume))
        if not len(cells):
            cells = np.argwhere(np.ones_like(self.occupied(volume)))
        centre = cells[rng.integers(len(cells))] * BLOCK + rng.integers(0, BLOCK, 3)
        begins = []
        for middle, full, edge in zip(centre, facts.shape, size, strict=True):
            room = full - int(edge)
            begin = int(middle) - int(edge) // 2
            begins.append(room // 2 if room <= 0 else min(max(0, begin), room))
        return begins[0], begins[1], begins[2]

    def occupied(self, volume: str) -> np.ndarray:
        """Which cells of 16³ voxels hold more than air."""
        if volume not in self._occupied:
            record = read_json(self.sidecar(volume))
            shape = [-(-edge // BLOCK) for edge in record["shape"]]
            self._occupied[volume] = unpack_bits(record["occupancy"], shape)
        return self._occupied[volume]

    def sidecar(self, volume: str) -> Path:
        """The JSON beside a volume: sources, recipe, affine, box, statistics."""
        return volume_file(self.folder / "store", volume).with_suffix(".json")

    def _facts(self, volume: str) -> StoredVolume:
        if volume not in self.volumes:
            raise UsageError(f"there is no volume {volume!r}; {nearest(volume, self.volumes)}")
        return self.volumes[volume]

    def _outside(self, facts: StoredVolume) -> int:
        if facts.kind == "hu":
            return AIR_HU
        # the least stored number stands for the darkest value
        return int(np.clip(round((facts.low - facts.intercept) / facts.slope), -(2**15), 2**15 - 1))

    def _slice(self, volume: str, first: Sequence[int], last: Sequence[int]) -> np.ndarray:
        ranges = tuple(
            slice(begin, max(begin, end)) for begin, end in zip(first, last, strict=True)
        )
        try:
            return np.asarray(self._opened(volume)[ranges])
        except (OSError, RuntimeError, ValueError) as error:
            file = volume_file(self.folder / "store", volume)
            raise BadDataError(
                f"{file}: the volume cannot be read ({type(error).__name__}: {error}). Expected a "
                "whole .b2nd file; delete it and run medssm preprocess again."
            ) from error

    def _opened(self, volume: str) -> Any:
        """The open file; a thread keeps its own, since one handle has one place to unpack to."""
        files: OrderedDict[str, Any] | None = getattr(self._local, "files", None)
        if files is None:
            files = self._local.files = OrderedDict()
        if volume in files:
            files.move_to_end(volume)
            return files[volume]
        options = {"mmap_mode": "r"} if self._memory_map else {}
        file = volume_file(self.folder / "store", volume)
        files[volume] = open_array(file, dparams=blosc2.DParams(nthreads=1), **options)
        if len(files) > _OPEN_FILES:
            files.popitem(last=False)
        return files[volume]


def read_table(file: Path) -> list[StoredVolume]:
    """The rows of a volumes.csv.

    Raises:
        BadDataError: It is missing or has other columns.
    """
    if not file.is_file():
        raise BadDataError(f"{file}: is not there. Run medssm preprocess first.")
    with file.open(newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise BadDataError(
                f"{file}: has the columns {table.fieldnames}. Expected {list(COLUMNS)}; run "
                "medssm preprocess again."
            )
        return [_row(row) for row in table]


def _row(row: Mapping[str, str]) -> StoredVolume:
    shape = [int(each) for each in row["shape"].split("x")]
    spacing = [float(each) for each in row["spacing_mm"].split("x")]
    numbers = {
        name: float(row[name])
        for name in (
            "slope", "intercept", "low", "high", "mean", "std", "quality", "histogram_distance",
        )
    }  # fmt: skip
    return StoredVolume(
        id=row["volume"],
        patient=row["patient"],
        split=row["split"],
        kind="hu" if row["kind"] == "hu" else "other",
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        flags=tuple(row["flags"].split()),
        **numbers,
    )
