"""Slices next to each other, for units that look along a volume."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from medssm.core.errors import UsageError
from medssm.fields.reconstruction.samples import SlicePlace


def looks_along_slices(network: nn.Module) -> bool:
    """Whether a batch of this network is a part of a volume."""
    return any(getattr(each, "over_slices", False) for each in network.modules())


def check_runs(places: Sequence[SlicePlace], count: int) -> None:
    """Refuse volumes that are shorter than a batch.

    Raises:
        UsageError: One is.
    """
    for case in sorted({place.case for place in places}):
        found = sum(place.case == case for place in places)
        if found < count:
            raise UsageError(
                f"batch_size={count}: {case} has {found} slices, and a unit that looks along "
                f"slices takes a batch from one volume. Take batch_size={found} or less."
            )


def run_of(
    places: Sequence[SlicePlace], count: int, generator: np.random.Generator
) -> list[SlicePlace]:
    """Neighbouring slices of one volume, in order; every slice comes about as often as any other.

    Args:
        places: Slices to choose from, whole volumes.
        count: How many.
        generator: Draws the volume and the place in it.
    """
    chosen = places[int(generator.integers(len(places)))]
    volume = sorted((p for p in places if p.case == chosen.case), key=lambda each: each.index)
    first = volume.index(chosen) - int(generator.integers(count))
    first = min(max(first, 0), len(volume) - count)
    return volume[first : first + count]


def window(index: int, slices: int, count: int) -> tuple[int, int]:
    """First and last + 1 of the slices that a slice is predicted with, itself in the middle.

    Args:
        index: The slice.
        slices: Of its volume.
        count: Slices of a batch in the training.
    """
    count = min(count, slices)
    first = min(max(index - count // 2, 0), slices - count)
    return first, first + count
