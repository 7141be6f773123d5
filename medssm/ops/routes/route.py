"""A set of routes: one table that is checked once and kept on each device that asks for it."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec

import torch
from torch import Tensor
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import unset_fake_temporarily

Sizes = ParamSpec("Sizes")
KEPT = 32
"""Tables that each maker remembers; one of 96^3 cells both ways along three axes has 21 MB."""


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
        if not torch.compiler.is_compiling():
            table = table.to(device="cpu", dtype=torch.int32).contiguous()
            require_permutations(table)
        self.table = table.to(torch.int32)
        self._placed: dict[torch.device, Tensor] = {}

    def __len__(self) -> int:
        return self.table.shape[0]

    def __add__(self, other: "Routes") -> "Routes":
        """The routes of both, in this order."""
        return Routes(torch.cat((self.table, other.table)))

    def reversed(self) -> "Routes":
        """Every route backwards."""
        return Routes(self.table.flip(1))

    def both_ways(self) -> "Routes":
        """All routes, then the reverse of each."""
        return Routes(torch.cat((self.table, self.table.flip(1))))

    def table_on(self, device: torch.device) -> Tensor:
        """The table on a device; copied there once."""
        if torch.compiler.is_compiling():
            return self.table.to(device)
        if device not in self._placed:
            with _real_tensors():
                self._placed[device] = self.table.to(device)
        mode = detect_fake_mode()
        kept = self._placed[device]
        return kept if mode is None else mode.from_tensor(kept)


def require_permutations(table: Tensor) -> None:
    """Check that every row of a table visits every position exactly once.

    Raises:
        ValueError: A row does not; the message names it.
    """
    wanted = torch.arange(table.shape[1], device=table.device, dtype=table.dtype)
    wrong = (table.sort(dim=1).values != wanted).any(dim=1)
    if bool(wrong.any()):
        raise ValueError(
            f"routes: row {int(wrong.int().argmax())} of the table must visit each of the positions"
            f" 0..{table.shape[1] - 1} exactly once."
        )


def from_permutation(order: Tensor) -> Routes:
    """Make routes of one order (L,) or several (K, L).

    Raises:
        ValueError: An order is no permutation.
    """
    return Routes(order if order.dim() == 2 else order[None])


def kept(make: Callable[Sizes, Tensor]) -> Callable[Sizes, Routes]:
    """Make a table into routes once for each choice of sizes.

    While `torch.compile` or `torch.export` traces, sizes may be symbols and tensors have no
    numbers: the table becomes a part of the graph then and nothing is remembered.
    """

    def build(*sizes: Sizes.args, **more: Sizes.kwargs) -> Routes:
        return Routes(make(*sizes, **more))

    remembered = functools.lru_cache(maxsize=KEPT)(build)

    @functools.wraps(make)
    def routes(*sizes: Sizes.args, **more: Sizes.kwargs) -> Routes:
        if torch.compiler.is_compiling():
            return build(*sizes, **more)
        with _real_tensors():
            return remembered(*_frozen(sizes), **dict(_frozen(more.items())))

    return routes


def _frozen(value: Any) -> Any:
    """Lists, which YAML gives, as tuples, which can be remembered."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return tuple(_frozen(part) for part in value)


@contextlib.contextmanager
def _real_tensors() -> Iterator[None]:
    """Make tensors that outlive the call: with numbers, for any later use, on the CPU."""
    # a tensor made in inference mode could never be kept for a backward
    with unset_fake_temporarily(), torch.inference_mode(False), torch.device("cpu"):
        yield
