"""Logits of a whole image in bounded memory: sums roll through a slab, finished planes to disk.

Windows come ordered along the first axis. Only as many planes as a window is deep can still
change, so only they are summed; what is finished is divided by its weights and written to a
memory-mapped temporary file. A slab above the memory limit is itself mapped to disk, so that
the memory a case takes does not depend on the number of classes.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch
from monai.inferers import Merger
from torch import Tensor

from medssm.core.errors import MachineError

SCRATCH_PREFIX = "medssm-scratch-"


@dataclass(frozen=True)
class Scratch:
    """Where temporary files go, and how much memory sums may take.

    Args:
        folder: An existing folder with room for classes x voxels x bytes.
        dtype: How finished logits are stored.
        slab_bytes: A slab of sums above this goes to disk too, and no more than this of a file
            is held in memory.
    """

    folder: Path
    dtype: Literal["float32", "float16"] = "float32"
    slab_bytes: int = 512 * 2**20

    def array(self, shape: Sequence[int], dtype: str) -> "ScratchArray":
        """Make a zero-filled temporary array on disk."""
        return ScratchArray(self.folder, tuple(shape), dtype, self.slab_bytes)


class ScratchArray:
    """An array in a file without a name: it vanishes with the process, however that ends.

    Args:
        folder: Where the file lies.
        shape: Shape of the array.
        dtype: Its numpy type.
        resident_bytes: Let go of the file's pages after so many bytes were used.

    Raises:
        MachineError: The disk has no room for it.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, ...], dtype: str, resident_bytes: int
    ) -> None:
        self._resident_bytes, self._used_bytes = resident_bytes, 0
        size = max(1, math.prod(shape)) * np.dtype(dtype).itemsize
        # closed by close(), or by the system when the process ends
        self._file = tempfile.TemporaryFile(prefix=SCRATCH_PREFIX, dir=folder)  # noqa: SIM115
        try:
            _reserve(self._file.fileno(), size)
        except OSError as error:
            self._file.close()
            raise MachineError(
                f"{folder}: no room for {size / 2**30:.2f} GiB of temporary data "
                f"(array {shape} of {dtype}): {error.strerror}. Free disk space, or name another "
                "folder with scratch=FOLDER."
            ) from error
        self._map = mmap.mmap(self._file.fileno(), size)
        self.values = np.frombuffer(self._map, dtype=dtype, count=math.prod(shape)).reshape(shape)

    def used(self, voxels: int) -> None:
        """Count values as read or written; let go of pages that were used, now and then."""
        self._used_bytes += voxels * self.values.itemsize
        if self._used_bytes < self._resident_bytes:
            return
        self._used_bytes = 0
        with suppress(AttributeError, OSError):
            # the content stays in the file; only this process stops holding it
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Remove the file."""
        del self.values
        with suppress(BufferError):
            # a view that someone still holds keeps the mapping until it is dropped
            self._map.close()
        self._file.close()


def _reserve(handle: int, size: int) -> None:
    # a file with holes would die by SIGBUS in the middle of a case on a full disk
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.ftruncate(handle, size)


class StreamedLogits:
    """Logits of an image on disk, read a class at a time.

    Shape:
        the whole: (K, *S).
    """

    def __init__(self, store: ScratchArray, region: tuple[slice, ...]) -> None:
        self._store, self._region = store, region

    @property
    def shape(self) -> tuple[int, ...]:
        """Classes, then the size of the image."""
        return self._view().shape

    def _view(self) -> np.ndarray[Any, np.dtype[Any]]:
        return self._store.values[(slice(None), *self._region)]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Logits of one class as an array of their own, in float32."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        values = np.array(self._view()[index], dtype=np.float32)
        self._store.used(values.size)
        return values

    def __iter__(self) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """All classes at once, in memory."""
        if copy is False:
            raise ValueError("streamed logits lie on disk: an array of them is always a copy.")
        return np.array(self._view(), dtype=dtype or np.float32)

    def close(self) -> None:
        """Remove the temporary file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SlabMerger(Merger):
    """Adds up weighted windows that come ordered along the first axis.

    Args:
        merged_shape: (1, K, *padded image).
        cropped_shape: (1, K, *image).
        weights: Weight of every voxel of a window; sums are of its type.
        before: Padding before the image along each axis, cut off at the end.
        scratch: Where finished planes go.

    Shape:
        windows: (1, K, *window); result: `StreamedLogits` of (K, *image).
    """

    def __init__(
        self,
        merged_shape: Sequence[int],
        cropped_shape: Sequence[int],
        weights: Tensor,
        before: Sequence[int],
        scratch: Scratch,
    ) -> None:
        super().__init__(merged_shape, cropped_shape)
        self._weights, self._scratch = weights, scratch
        self._region = tuple(
            slice(front, front + size)
            for front, size in zip(before, cropped_shape[2:], strict=True)
        )
        self._classes, self._size = merged_shape[1], tuple(merged_shape[2:])
        self._depth = weights.shape[0]
        self._first = 0  # the plane of the image that lies first in the slab
        self._store = scratch.array((self._classes, *self._size), scratch.dtype)
        self._mapped: ScratchArray | None = None
        self._sums: Tensor | None = None
        self._norm = torch.zeros(self._depth, *self._size[1:], dtype=weights.dtype)

    def _open_slab(self, device: torch.device) -> Tensor:
        shape = (self._classes, self._depth, *self._size[1:])
        kind = self._weights.dtype
        if math.prod(shape) * kind.itemsize <= self._scratch.slab_bytes:
            self._norm = self._norm.to(device)
            self._weights = self._weights.to(device)
            return torch.zeros(shape, device=device, dtype=kind)
        self._mapped = self._scratch.array(shape, str(kind).removeprefix("torch."))
        return torch.from_numpy(self._mapped.values)

    def aggregate(self, values: Tensor, location: Sequence[int]) -> None:
        """Add one window at its place; planes before it are finished and leave memory."""
        if self._sums is None:
            self._sums = self._open_slab(values.device)
        if location[0] < self._first:
            raise ValueError("windows must come ordered along the first axis.")
        if location[0] > self._first:
            self._roll(location[0] - self._first)
        size = self._weights.shape[1:]
        place = tuple(slice(s, s + w) for s, w in zip(location[1:], size, strict=True))
        for index in range(self._classes):
            window = values[0, index].to(self._sums.device)
            part = self._sums[index][(slice(None), *place)]
            if part.dtype == torch.float32:
                part.addcmul_(window, self._weights)
            else:
                # rounded after the sum alone, not after the product
                part += window * self._weights.to(window.dtype)
            if self._mapped is not None:
                self._mapped.used(window.numel())
        self._norm[(slice(None), *place)] += self._weights

    def _roll(self, planes: int) -> None:
        """Write the first planes of the slab out and move the rest forward."""
        sums = self._sums
        assert sums is not None
        done = min(planes, self._depth)
        kept = self._depth - done
        norm = self._norm[:done]
        target = slice(self._first, self._first + done)
        for index in range(self._classes):
            self._store.values[index, target] = (sums[index, :done] / norm).cpu().numpy()
            if kept:
                sums[index, :kept] = sums[index, done:].clone()
            sums[index, kept:] = 0
            self._store.used(norm.numel())
            if self._mapped is not None:
                self._mapped.used(sums[index].numel())
        self._norm = torch.cat([self._norm[done:], torch.zeros_like(norm)])
        self._first += planes

    def finalize(self) -> StreamedLogits:
        """Write what is left and hand the logits out."""
        self._roll(self._size[0] - self._first)
        self._sums = None
        if self._mapped is not None:
            self._mapped.close()
        self.is_finalized = True
        return StreamedLogits(self._store, self._region)
