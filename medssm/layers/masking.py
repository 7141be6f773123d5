"""Bottom-up masking: which cells of an image are seen, at every depth of an encoder alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from medssm.core.errors import BadArgumentError


@dataclass(frozen=True)
class Visible:
    """The cells of a batch that an encoder sees, carried through the network by hand.

    One cell is one token of the deepest stage; every shallower stage repeats it, so the visible
    share is the same at all depths. Every sample sees equally many cells.

    Args:
        cells: True where a cell is seen.
        ids: Row-major numbers of the seen cells, ascending: the order of the scan.

    Shape:
        cells: (B, *F) bool, ids: (B, K) int64.

    Source:
        Tan et al., "MambaMIM", 2025, bottom-up 3D hybrid masking; after Tian et al., "SparK", 2023.
    """

    cells: Tensor
    ids: Tensor
    _grown: dict[tuple[int, ...], Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(self.cells.shape[1:])

    @property
    def flat(self) -> Tensor:
        """The cells in scan order, (B, L) bool."""
        return self.cells.flatten(1)

    def at(self, size: Sequence[int]) -> Tensor:
        """The same cells on a finer grid.

        Args:
            size: Its sizes, multiples of the cells' own.

        Returns:
            A mask for channels-last maps.

        Raises:
            BadArgumentError: The size is no multiple of the grid of cells.

        Shape:
            result: (B, *S, 1) bool.
        """
        size = tuple(size)
        if size not in self._grown:
            grown = self.cells
            if len(size) != len(self.grid) or any(
                each % cell for each, cell in zip(size, self.grid, strict=True)
            ):
                raise BadArgumentError(
                    f"a mask of {self.grid} cells does not fit a map of size {size}; its sizes "
                    "must be multiples of the cells"
                )
            for axis, (each, cell) in enumerate(zip(size, self.grid, strict=True), start=1):
                grown = grown.repeat_interleave(each // cell, dim=axis)
            self._grown[size] = grown.unsqueeze(-1)
        return self._grown[size]

    def to(self, device: torch.device) -> "Visible":
        """The same cells on another device."""
        if self.cells.device == device:
            return self
        return Visible(self.cells.to(device), self.ids.to(device))


def kept_cells(cells: int, ratio: float) -> int:
    """How many of some cells stay visible.

    Args:
        cells: All cells of a sample.
        ratio: Hidden share.

    Raises:
        BadArgumentError: The ratio does not lie in 0..1, or nothing is seen or hidden.
    """
    kept = round(cells * (1 - ratio)) if 0 <= ratio <= 1 else 0
    if not 0 < kept < cells:
        raise BadArgumentError(
            f"mask ratio {ratio} leaves {kept} of {cells} cells visible; expected at least one "
            "visible and one hidden. Take another ratio, or a larger crop"
        )
    return kept


def visible_from_ids(ids: Tensor, grid: Sequence[int]) -> Visible:
    """The mask of some cells, in whatever order they are named.

    Shape:
        ids: (B, K), each row without repetition.
    """
    cells = torch.zeros(ids.shape[0], math.prod(grid), dtype=torch.bool, device=ids.device)
    cells = cells.scatter(1, ids, torch.ones_like(ids, dtype=torch.bool))
    return Visible(cells.view(-1, *grid), ids.sort(dim=1).values)


def random_visible(
    batch: int, grid: Sequence[int], ratio: float, generator: torch.Generator | None = None
) -> Visible:
    """Draw the visible cells of each sample: the first of a random order.

    Args:
        batch: Samples.
        grid: Cells along each axis.
        ratio: Hidden share; round(cells * (1 - ratio)) cells stay visible.
        generator: On CPU; None takes torch's own.

    Source:
        Tan et al., "MambaMIM", 2025: uniform noise over the cells, the lowest are seen.
    """
    cells = math.prod(grid)
    kept = kept_cells(cells, ratio)
    noise = torch.rand(batch, cells, generator=generator)
    return visible_from_ids(noise.argsort(dim=1)[:, :kept], grid)


def gather_tokens(tokens: Tensor, ids: Tensor) -> Tensor:
    """Take tokens out by number: (B, L, C) and (B, K) to (B, K, C)."""
    return tokens.gather(1, ids.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def scatter_tokens(tokens: Tensor, ids: Tensor, length: int) -> Tensor:
    """Put tokens back at their numbers, zeros elsewhere: (B, K, C) and (B, K) to (B, L, C)."""
    empty = tokens.new_zeros(tokens.shape[0], length, tokens.shape[-1])
    return empty.scatter(1, ids.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]), tokens)
