"""A set of routes: one table that is checked once and kept on each device that asks for it."""

import torch
from torch import Tensor


class Routes:
    """K orders of visiting the same L positions.

    Args:
        table: The position visited at each step.

    Shape:
        table: (K, L), integers; each row a permutation of 0..L-1.

    Raises:
        ValueError: A row does not visit every position exactly once.
    """

    def __init__(self, table: Tensor) -> None:
        if table.dim() != 2:
            raise ValueError(f"a route table has the axes (route, step); got {tuple(table.shape)}.")
        table = table.to(device="cpu", dtype=torch.int32).contiguous()
        wanted = torch.arange(table.shape[1], dtype=torch.int32).expand_as(table)
        wrong = (table.sort(dim=1).values != wanted).any(dim=1).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f"route {wrong[0]} does not visit each of the {table.shape[1]} positions once."
            )
        self.table = table
        self._placed: dict[torch.device, Tensor] = {table.device: table}

    def __len__(self) -> int:
        return self.table.shape[0]

    def __add__(self, other: "Routes") -> "Routes":
        """The routes of both, in this order."""
        return Routes(torch.cat((self.table, other.table)))

    def table_on(self, device: torch.device) -> Tensor:
        """The table on a device; copied there once."""
        if device not in self._placed:
            self._placed[device] = self.table.to(device)
        return self._placed[device]


def from_permutation(order: Tensor) -> Routes:
    """Make routes of one order (L,) or several (K, L).

    Raises:
        ValueError: An order is no permutation.
    """
    return Routes(order if order.dim() == 2 else order[None])
