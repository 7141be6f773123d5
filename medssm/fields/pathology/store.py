"""The bags of a study in memory as far as they fit: features in the wished order, and places."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medssm.core.errors import BadDataError
from medssm.core.files import read_json, write_json
from medssm.data.bags import Bag, bag_header, order_of, read_bag
from medssm.fields.pathology.plan_file import BagEntry

FEATURES = "features.json"
_CACHE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Inventory:
    """Which feature files there are.

    Args:
        width: Numbers a tile.
        encoder: What made them, where the files say it.
        files: Feature file of each slide.
        counts: Tiles of each slide.
        orders: Orders in which the files say that their tiles were written.
        recipe: How features are made from slides; empty where they were given.
    """

    width: int
    encoder: str | None
    files: Mapping[str, str]
    counts: Mapping[str, int]
    orders: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The inventory as plain data."""
        return {"format": 1, **vars(self)}


def take_inventory(files: Mapping[str, Path], recipe: Mapping[str, Any]) -> Inventory:
    """Look into the headers of feature files.

    Raises:
        BadDataError: Files of different width or encoder, or none with a tile.
    """
    headers = {slide: bag_header(file) for slide, file in files.items()}
    told: dict[tuple[int, str | None], list[str]] = {}
    for slide, header in headers.items():
        if header.count:
            told.setdefault((header.width, header.encoder), []).append(slide)
    if not told:
        raise BadDataError(f"none of {len(files)} feature files holds a tile.")
    if len(told) > 1:
        shown = "; ".join(
            f"{width} numbers of {encoder or 'an encoder not named'}: {len(slides)} slides, "
            f"e.g. {files[slides[0]]}"
            for (width, encoder), slides in told.items()
        )
        raise BadDataError(f"features of different kinds: {shown}. Expected one encoder.")
    (width, encoder), slides = next(iter(told.items()))
    orders = {str(headers[slide].facts.get("order", "unknown")) for slide in slides}
    return Inventory(
        width,
        encoder,
        {slide: str(files[slide]) for slide in slides},
        {slide: headers[slide].count for slide in slides},
        tuple(sorted(orders)),
        dict(recipe),
    )


def write_inventory(file: Path, inventory: Inventory) -> None:
    """Write an inventory whole."""
    write_json(file, inventory.plain())


def read_inventory(file: Path) -> Inventory:
    """Read an inventory.

    Raises:
        BadDataError: It is missing.
    """
    content = read_json(file)
    content.pop("format", None)
    return Inventory(**{**content, "orders": tuple(content["orders"])})


@dataclass(frozen=True)
class Tiles:
    """A bag as a network reads it.

    Args:
        features: In the order of reading.
        order: Element i is the row of the files that comes i-th; files follow each other.
        parts: The files of the bag as they were read.

    Shape:
        features: (N, D), order: (N,).
    """

    features: Tensor
    order: np.ndarray
    parts: tuple[Bag, ...]

    def in_file_order(self, values: np.ndarray) -> np.ndarray:
        """Numbers of the tiles, (..., N), back in the order of the files."""
        back = np.empty_like(values)
        back[..., self.order] = values
        return back


def read_tiles(files: Sequence[Path], width: int, order: str) -> Tiles:
    """Read the files of a bag one after another, each in the wished order.

    Raises:
        BadDataError: A file cannot be used, or has no places although an order needs them.
    """
    parts = tuple(read_bag(Path(file), width) for file in files)
    orders, start = [], 0
    for part in parts:
        if order != "file" and part.coords is None and len(part):
            raise BadDataError(
                f"{part.source}: has no coords, and order={order} needs them. Expected the places "
                "of the tiles; take an .h5 with coords, or order=file."
            )
        places = np.arange(len(part)) if part.coords is None else order_of(part.coords, order)
        orders.append(places + start)
        start += len(part)
    rows = np.concatenate([part.features for part in parts if len(part)] or
                          [np.zeros((0, width), np.float32)])  # fmt: skip
    whole = np.concatenate(orders) if orders else np.zeros(0, int)
    return Tiles(torch.from_numpy(np.ascontiguousarray(rows[whole])), whole, parts)


class BagStore:
    """Bags by name; those read last are kept in memory.

    Args:
        bags: Their slides.
        inventory: Their files.
        order: In which tiles are read.
        cache_bytes: What may be kept.
    """

    def __init__(
        self,
        bags: Mapping[str, BagEntry],
        inventory: Inventory,
        order: str,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.inventory, self.order, self.cache_bytes = inventory, order, cache_bytes
        self.bags = {
            name: each
            for name, each in bags.items()
            if any(slide in inventory.files for slide in each.slides)
        }
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    def files(self, name: str) -> list[Path]:
        """The feature files of a bag."""
        own = self.inventory.files
        return [Path(own[slide]) for slide in self.bags[name].slides if slide in own]

    def features(self, name: str) -> Tensor:
        """The features of a bag in the order of reading.

        Shape:
            (N, D).
        """
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        features = read_tiles(self.files(name), self.inventory.width, self.order).features
        self._kept[name] = features
        self._bytes += features.nbytes
        while self._bytes > self.cache_bytes and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return features


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of each feature over the tiles of training bags.

    Shape:
        mean, deviation: (D,).
    """

    mean: Tensor
    deviation: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Bring features to mean 0 and deviation 1."""
        return (features - self.mean) / self.deviation

    def plain(self) -> dict[str, list[float]]:
        """As plain data."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}


def standard_of(store: BagStore, names: Sequence[str]) -> Standard:
    """Measure bags, one after another; a constant feature is only shifted."""
    total = torch.zeros(store.inventory.width, dtype=torch.float64)
    squares, count = torch.zeros_like(total), 0
    for name in names:
        rows = store.features(name).double()
        total += rows.sum(0)
        squares += rows.square().sum(0)
        count += len(rows)
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    deviation[deviation < 1e-6 * (1 + mean.abs())] = 1.0
    return Standard(mean.float(), deviation.float())


def read_standard(file: Path) -> Standard | None:
    """Read what `Standard.plain` gave; None where there is no such file."""
    if not file.is_file():
        return None
    content = read_json(file)
    return Standard(torch.tensor(content["mean"]), torch.tensor(content["deviation"]))
