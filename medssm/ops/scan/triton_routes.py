"""What Triton kernels must know of a route table: is it sound, which routes are opposites.

Looking into a table makes the host wait for the device, so what was found is kept for as long as
the table lives.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

Found = TypeVar("Found")
MOST_KEPT = 64
MOST_MIRRORED = 62  # routes in the bit mask that tells a kernel which of them run backwards


@dataclass(frozen=True)
class Inspection:
    """What was found in a table.

    Args:
        pairs: Routes that are each other's reverse, each in one pair at most.
    """

    pairs: tuple[tuple[int, int], ...] = ()

    @property
    def mirrored(self) -> int:
        """Bit k is set where route k is the second of a pair."""
        return sum(1 << second for _, second in self.pairs)


_Key = tuple[int, int, tuple[int, ...], int, str]
_KNOWN: OrderedDict[_Key, tuple[Any, Any]] = OrderedDict()
_LOCK = Lock()


def inspect(table: Tensor | None) -> Inspection:
    """Check a table once and find its opposite routes.

    The capture of a CUDA graph forbids waiting: there an unseen table is taken as sound and
    without opposites.

    Args:
        table: (k, L) int32, or None for the order of memory.

    Raises:
        ValueError: A row does not visit each position once.
    """
    if table is None or table.numel() == 0:
        return Inspection()
    found = _known(table, "inspection")
    if found is not None:
        return found
    if table.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return Inspection()
    return _keep(table, "inspection", lambda: Inspection(_pairs(_sound(table))))


def inverse(table: Tensor) -> Tensor:
    """The step at which each route visits each position, (k, L) int32.

    Raises:
        ValueError: A row does not visit each position once.
    """
    inspect(table)
    found = _known(table, "inverse")
    if found is not None:
        return found
    return _keep(table, "inverse", lambda: table.argsort(dim=1).to(torch.int32).contiguous())


def _key(table: Tensor, kind: str) -> tuple[_Key, Any]:
    storage: Any = StorageWeakRef(table.untyped_storage())  # type: ignore[no-untyped-call]
    version = 0 if table.is_inference() else table._version
    shape = tuple(int(size) for size in table.shape)
    return (int(storage.cdata), int(table.storage_offset()), shape, version, kind), storage


def _known(table: Tensor, kind: str) -> Any:
    key, _ = _key(table, kind)
    with _LOCK:
        known = _KNOWN.get(key)
        if known is None or known[0].expired():
            return None
        _KNOWN.move_to_end(key)
    return known[1]


def _keep(table: Tensor, kind: str, make: Callable[[], Found]) -> Found:
    key, storage = _key(table, kind)
    found = make()
    with _LOCK:
        _KNOWN[key] = (storage, found)
        if len(_KNOWN) > MOST_KEPT:
            _KNOWN.popitem(last=False)
    return found


def _sound(table: Tensor) -> Tensor:
    wanted = torch.arange(table.shape[1], device=table.device, dtype=table.dtype)
    if not bool((table.sort(dim=1).values == wanted).all()):
        raise ValueError(
            "routes: every row of the table must visit each position 0..L-1 exactly once."
        )
    return table


def _pairs(table: Tensor) -> tuple[tuple[int, int], ...]:
    routes = table.shape[0]
    if routes < 2 or routes > MOST_MIRRORED:
        return ()
    hits = [(table[i].flip(0) == table[i + 1 :]).all(dim=1).tolist() for i in range(routes - 1)]
    free = set(range(routes))
    pairs = []
    for i, row in enumerate(hits):
        for second in (i + 1 + j for j, hit in enumerate(row) if hit):
            if i in free and second in free:
                free -= {i, second}
                pairs.append((i, second))
    return tuple(pairs)
