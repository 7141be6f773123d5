"""How a volume lies on disk: one blosc2 file in chunks, named by hash, written whole."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import blosc2
import numpy as np

from medssm.core.files import atomic_path

Codec = Literal["lz4", "zstd"]
BLOCK = 16
"""Edge of the cells of the occupancy, in voxels."""
_CHUNK = 64
_INNER = (16, 32, 32)


def volume_file(folder: Path, volume: str) -> Path:
    """Where a volume lies: two levels of folders, so that none holds more than a thousand."""
    return folder / volume[:2] / volume[2:4] / f"{volume}.b2nd"


def write_volume(path: Path, voxels: np.ndarray, codec: Codec = "lz4") -> None:
    """Write a volume whole or not at all; the same voxels give the same bytes.

    Args:
        path: Ends with .b2nd.
        voxels: int16, (x, y, z).
        codec: "lz4" with shuffle for local disks, "zstd" with bitshuffle for network storage.
    """
    fast = codec == "lz4"
    settings = blosc2.CParams(
        codec=blosc2.Codec.LZ4 if fast else blosc2.Codec.ZSTD,
        clevel=5 if fast else 1,
        filters=[blosc2.Filter.SHUFFLE if fast else blosc2.Filter.BITSHUFFLE],
        filters_meta=[0],
        typesize=2,
        nthreads=1,
    )
    chunks = tuple(min(_CHUNK, size) for size in voxels.shape)
    blocks = tuple(min(inner, chunk) for inner, chunk in zip(_INNER, chunks, strict=True))
    # this number holds for all, whatever the parameters say: blocks of several threads would be
    # stored in the order in which they are done
    blosc2.set_nthreads(1)
    with atomic_path(path) as partial:
        blosc2.asarray(
            np.ascontiguousarray(voxels, dtype=np.int16),
            urlpath=str(partial),
            mode="w",
            chunks=chunks,
            blocks=blocks,
            cparams=settings,
        )


def pack_bits(mask: np.ndarray) -> str:
    """A boolean array as text; its shape is kept elsewhere."""
    return base64.b64encode(np.packbits(mask.ravel()).tobytes()).decode("ascii")


def unpack_bits(text: str, shape: Sequence[int]) -> np.ndarray:
    """The boolean array that `pack_bits` wrote."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8))
    return bits[: int(np.prod(shape))].reshape(tuple(shape)).astype(bool)
