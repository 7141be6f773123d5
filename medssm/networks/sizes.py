"""Sizes that a network can take: a clear refusal, or padding and cropping."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from medssm.core.errors import BadArgumentError


def next_sizes(size: Sequence[int], divisors: Sequence[int]) -> tuple[int, ...]:
    """The smallest sizes that are multiples of the divisors and not below the given ones."""
    return tuple(-(-each // by) * by for each, by in zip(size, divisors, strict=True))


def check_sizes(x: Tensor, divisors: Sequence[int]) -> Tensor:
    """Hand the input back, or say which sizes would fit.

    Shape:
        x: (B, C, *S).

    Raises:
        BadArgumentError: Wrong rank, or a size that is no multiple of its divisor.
    """
    size = tuple(x.shape[2:])
    if len(size) != len(divisors):
        raise BadArgumentError(
            f"the network takes (batch, channel) and {len(divisors)} spatial axes, "
            f"found an input of shape {tuple(x.shape)}"
        )
    fitting = next_sizes(size, divisors)
    if fitting != size:
        raise BadArgumentError(
            f"spatial size {size} must be a multiple of {tuple(divisors)}; "
            f"the next sizes that fit are {fitting} (or build the network with pad=True)"
        )
    return x


def pad_to_multiple(x: Tensor, divisors: Sequence[int]) -> Tensor:
    """Add zeros at the far end of each axis up to the next fitting size."""
    fitting = next_sizes(x.shape[2:], divisors)
    missing = [goal - size for goal, size in zip(fitting, x.shape[2:], strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [each for more in reversed(missing) for each in (0, more)])


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Keep the first voxels of each spatial axis."""
    for axis, wanted in enumerate(size, start=2):
        if x.shape[axis] != wanted:
            x = x.narrow(axis, 0, wanted)
    return x
