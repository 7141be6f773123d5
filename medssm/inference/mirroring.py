"""Test-time mirroring: the network's mean answer over all mirror images of its input."""

from collections.abc import Callable
from itertools import combinations

from torch import Tensor


def mirror_sets(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every set of axes to flip together, the empty one first."""
    return [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]


def mirrored(network: Callable[[Tensor], Tensor], patches: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Average the logits of a network over mirror images of its input.

    Args:
        network: Patches to logits of the same spatial size.
        patches: A batch of windows.
        axes: Spatial axes to mirror, 0 the first; with n axes the network runs 2**n times.

    Returns:
        The mean logits, in float32.

    Shape:
        patches: (B, C, *S); result: (B, K, *S).

    Source:
        nnU-Net v2: logits, not probabilities, are averaged.
    """
    total = network(patches).float()
    sets = mirror_sets(axes)
    for chosen in sets[1:]:
        flipped = [axis + 2 for axis in chosen]
        total += network(patches.flip(flipped)).float().flip(flipped)
    return total.div_(len(sets))
