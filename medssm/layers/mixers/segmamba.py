"""The three-orientation mixer of SegMamba: forwards, backwards, and from slice to slice."""

import math

from torch import Tensor

from medssm.core.errors import BadArgumentError
from medssm.layers.mixers.branches import BranchedMamba
from medssm.ops.routes import Routes, interleave, there_and_back
from medssm.ops.routes.route import kept


@kept
def three_orientations(length: int, slices: int) -> Tensor:
    """Forwards, backwards, and one token of each slice in turn."""
    return (there_and_back(length) + interleave(length, slices)).table


class TriOrientedMamba(BranchedMamba):
    """Three routes, each with its own convolution, projections and decay; shared in and out.

    As Vim's mixer "v2" with a third branch whose step p * s + i visits position i * (L / s) + p,
    s slices: the same place of every slice, then the next place. Summed before W_out.

    Args:
        channels: Width of the tokens.
        state: States a channel.
        conv_width: Taps of the causal convolutions.
        expand: Inner width as a multiple of `channels`.
        dt_rank: Rank of the step projections; ceil(channels / 16) when not given.
        slices: Slices of the grid; the size of its first axis when not given. The official
            network fixes 64, 32, 16, 8 by stage, which are slices for 128^3 voxels only.

    Shape:
        x: (B, *S, C), result the same.

    Raises:
        BadArgumentError: The tokens do not divide into so many slices.

    Source:
        Xing et al., "SegMamba", 2024, mixer "v3"; taking s from the grid is ours.
    """

    def __init__(
        self,
        channels: int,
        state: int = 16,
        conv_width: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
        slices: int | None = None,
    ) -> None:
        super().__init__(
            ("", "_b", "_s"),
            channels,
            state=state,
            conv_width=conv_width,
            expand=expand,
            dt_rank=dt_rank,
        )
        self.slices = slices

    def order(self, size: tuple[int, ...]) -> Routes:
        """Forwards, backwards, from slice to slice."""
        length, slices = math.prod(size), self.slices or size[0]
        if length % slices:
            raise BadArgumentError(
                f"slices={slices} does not divide the {length} tokens of a grid of size"
                f" {tuple(size)}; leave it out to take the first axis, {size[0]}."
            )
        return three_orientations(length, slices)
