"""What a header may claim: a volume is weighed before a byte of memory is taken for it."""

from collections.abc import Sequence
from pathlib import Path

from medssm.core.errors import BadDataError
from medssm.core.memory import free_bytes

MAX_VOXELS = 2_000_000_000
# the voxels as stored, and once more as the check and the learning want them
_COPIES = 2


def check_count(path: Path, shape: Sequence[int]) -> None:
    """Refuse a claim that no image of ours makes.

    Raises:
        BadDataError: More voxels than MAX_VOXELS.
    """
    voxels = 1
    for size in shape:
        voxels *= int(size)
    if voxels > MAX_VOXELS:
        raise BadDataError(
            f"{path}: the header claims {'x'.join(map(str, shape))} = {voxels:,} voxels, more "
            f"than {MAX_VOXELS:,}. Crop it, or see whether the header is damaged."
        )


def check_memory(path: Path, shape: Sequence[int], voxel_bytes: int) -> None:
    """Refuse a volume that does not fit into the memory that is free now.

    Args:
        path: The file.
        shape: As its header claims.
        voxel_bytes: Bytes of a voxel with all its samples.

    Raises:
        BadDataError: It would not fit; the message says both numbers.
    """
    check_count(path, shape)
    needed = _COPIES * voxel_bytes
    for size in shape:
        needed *= int(size)
    free = free_bytes()
    if free is not None and needed > free:
        raise BadDataError(
            f"{path}: the header claims {'x'.join(map(str, shape))} voxels, which take "
            f"{needed / 1e9:.1f} GB to read; {free / 1e9:.1f} GB of memory are free. Crop it, see "
            "whether the header is damaged, or use a machine with more memory."
        )
