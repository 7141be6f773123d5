"""NumPy arrays of k-space: (H, W), (coils, H, W) or (slices, coils, H, W), complex."""

from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from medssm.core.errors import BadDataError
from medssm.data.kspace.sampling import find_sampling
from medssm.data.kspace.side_car import read_side_car
from medssm.data.kspace.volume import KspaceVolume


def map_array(path: Path) -> np.ndarray:
    """The array of an .npy file without reading it.

    Raises:
        BadDataError: Not an .npy file, cut off, or not complex.
    """
    if not path.is_file():
        raise BadDataError(f"{path}: the file does not exist.")
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, TokenError) as error:
        raise BadDataError(
            f"{path}: not a readable .npy file ({error}); copy it again from its source."
        ) from None
    if not np.iscomplexobj(values) or values.ndim not in (2, 3, 4) or not values.size:
        raise BadDataError(
            f"{path}: holds {values.dtype} of shape {values.shape}. Expected complex k-space (H, W)"
            ", (coils, H, W) or (slices, coils, H, W)."
        )
    return values


@dataclass(frozen=True)
class ArraySource:
    """Slices of an array in a file."""

    path: Path

    def read(self, index: int) -> np.ndarray:
        """Samples of a slice."""
        values = map_array(self.path)
        plane = values[index] if values.ndim == 4 else values
        return np.array(plane[None] if plane.ndim == 2 else plane)

    def reference(self, index: int) -> np.ndarray | None:  # noqa: ARG002 - as every source
        """An array carries none."""
        return None


def open_array(path: Path) -> KspaceVolume:
    """Understand an .npy file.

    Raises:
        BadDataError: As `map_array`.
    """
    shape = map_array(path).shape
    full = (*(1,) * (4 - len(shape)), *shape)
    source = ArraySource(path)
    sampling = find_sampling(source.read, full[0])
    return KspaceVolume(
        path=path,
        name=path.stem,
        layout="npy",
        shape=(full[0], full[1], full[2], full[3]),
        source=source,
        mask=sampling.mask,
        acs=sampling.acs,
        padding=sampling.padding,
        **read_side_car(path),
    )
