"""Which mask a slice gets: its own, the user's file, or one drawn from a seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medssm.core.errors import BadDataError, UsageError
from medssm.fields.reconstruction.train_config import SamplingConfig
from medssm.mri.undersampling import Mask, Seed, draw_mask, find_acs, outside_padding

Draw = Callable[[Tensor], Mask]


def drawn(sampling: SamplingConfig, shape: tuple[int, int], seed: Seed) -> Draw:
    """From the padding to the mask that a configuration and a seed give.

    Raises:
        UsageError: The centre does not fit the acceleration, or a mask file the matrix.
    """
    if sampling.file is not None:
        return fixed(mask_of_file(Path(sampling.file), shape))
    letters = [ord(each) for each in seed] if isinstance(seed, str) else seed
    name = sampling.masks[_choice(letters, len(sampling.masks))]
    try:
        mask = draw_mask(name, shape, sampling.accelerations, sampling.center_fractions, letters)
    except ValueError as error:
        raise UsageError(f"sampling: {error}") from None
    return lambda padding: outside_padding(mask, padding, letters)


def _choice(seed: Seed, count: int) -> int:
    numbers = [seed] if isinstance(seed, int) else [int(each) for each in seed]
    return int(np.random.default_rng(numbers).integers(count))


def fixed(mask: Mask) -> Draw:
    """A mask that is known already."""
    return lambda padding: Mask(mask.sampled & ~padding, mask.acs & ~padding)


def own(sampled: np.ndarray, acs: np.ndarray | None) -> Mask:
    """The mask that a file was acquired with.

    Shape:
        sampled, acs: (H, W).
    """
    taken = torch.from_numpy(np.ascontiguousarray(sampled, dtype=bool))
    centre = find_acs(taken) if acs is None else torch.from_numpy(acs.astype(bool))
    return Mask(taken, centre & taken)


def mask_of_file(file: Path, shape: tuple[int, int]) -> Mask:
    """A mask that somebody saved.

    Raises:
        BadDataError: It is no array of the matrix or of its columns, or has no sampled centre.
    """
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadDataError(f"{file}: no mask ({error}). Expected a .npy of booleans.") from None
    if found.shape == (shape[1],):
        found = np.broadcast_to(found, shape)
    if found.shape != tuple(shape):
        raise BadDataError(
            f"{file}: a mask of the shape {found.shape}. Expected {tuple(shape)} or ({shape[1]},), "
            "rows and columns of k-space."
        )
    mask = own(found != 0, None)
    if not bool(mask.acs.any()):
        raise BadDataError(
            f"{file}: the middle of the mask is not sampled. Expected a fully sampled centre, from "
            "which the coils' sensitivities are measured."
        )
    return mask
