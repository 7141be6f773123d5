"""What travels in a bundle of bags: from feature files to bags in the network's order."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from medssm.core.errors import BadDataError
from medssm.core.inert import file_name
from medssm.data.bags import SlideRow, bag_header, find_bags, read_bag_table, read_slide_table
from medssm.data.bags.bag import Bag
from medssm.data.bags.slide_table import slide_id
from medssm.fields.pathology.store import Tiles, read_tiles
from medssm.fields.pathology.tile_origin import TileOrigin, check_tiles
from medssm.metrics.survival import bins_of

_LOGGER = logging.getLogger("bundle")
_NAN = float("nan")
_OR = " or "


def list_bags(
    dataset_dir: str, labels_file: str | None = None, unit: str = "slide"
) -> list[dict[str, Any]]:
    """The bags of a folder of feature files, of one file, or of a table of bags.

    Args:
        dataset_dir: .h5, .npz or .pt files, one a slide, also in the folders of CLAM and TRIDENT;
            or a .csv without a header: class, bag, features of an instance.
        labels_file: A CSV with slide_id and, as far as known, case_id (the patient), label,
            survival_months with censorship or event. It may be missing.
        unit: "patient" makes one bag of all slides of a patient.

    Raises:
        BadDataError: Nothing to read there, or a patient's name is none for a file.
    """
    place = Path(dataset_dir)
    if place.suffix.lower() == ".csv":
        return [
            {"image": [str(place)], "case": name, "class": label, "months": _NAN, "event": _NAN}
            for name, (label, _) in read_bag_table(place).items()
        ]
    files = find_bags(place) if place.is_dir() else {slide_id(place.name): place}
    given = labels_file is not None and Path(labels_file).is_file()
    rows = read_slide_table(Path(labels_file)) if labels_file and given else {}
    bags: dict[str, dict[str, Any]] = {}
    for slide, file in files.items():
        if not _has_tiles(file):
            _LOGGER.warning("%s: no tiles; it has no answer.", file)
            continue
        row = rows.get(slide, SlideRow(slide, slide))
        name = row.patient if unit == "patient" else slide
        file_name(name, "the name of a bag", labels_file or dataset_dir)
        bag = bags.setdefault(name, {"image": [], "case": name, **_truth(row)})
        bag["image"].append(str(file))
        if row.label and row.label not in bag["class"].split(_OR):
            # two classes in a patient are none: told where a class is asked for
            bag["class"] = _OR.join(filter(None, (bag["class"], row.label)))
    return list(bags.values())


def _has_tiles(file: Path) -> bool:
    try:
        return bag_header(file).count > 0
    except BadDataError:
        # what is wrong with it is told when it is read
        return True


def _truth(row: SlideRow) -> dict[str, Any]:
    event = _NAN if row.event is None else float(row.event)
    return {"class": row.label or "", "months": row.months or _NAN, "event": event}


class ReadBagd(MapTransform):
    """Read the feature files of a bag, their tiles in the order that the network reads them in.

    Args:
        keys: Lists of files.
        width: Numbers a tile.
        origin: network, order, orders and encoder of the training.
        classes: Names of the classes, to give "label" too, one-hot (K,).
        edges: Edges of the time bins, to give "label" too: bin, censored and months, (3,).
        strict: Whether a bag that cannot be read, or has no label, stops the run; otherwise it has
            no tile and "problem" says why, or its label is NaN, and the others go on.
        check_order: Refuse tiles in another order than those of training.
        check_encoder: Refuse features of another encoder.

    Shape:
        result: (width, N) features.
    """

    def __init__(
        self,
        keys: KeysCollection,
        width: int,
        origin: Mapping[str, Any],
        classes: Sequence[str] | None = None,
        edges: Sequence[float] | None = None,
        strict: bool = False,
        check_order: bool = True,
        check_encoder: bool = True,
    ) -> None:
        super().__init__(keys)
        self.width, self.strict = width, strict
        self.checks = (check_order, check_encoder)
        self.origin = TileOrigin(**{**origin, "orders": tuple(origin["orders"])})
        self.classes = None if classes is None else list(classes)
        self.edges = None if edges is None else list(edges)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the bag of a case."""
        case = dict(data)
        for key in self.key_iterator(case):
            problem, tiles = "", _no_tiles(self.width)
            try:
                tiles = self._read([Path(file) for file in case[key]], str(case["case"]))
            except BadDataError as error:
                if self.strict:
                    raise
                problem = str(error)
            case |= {
                "file": "; ".join(case[key]),
                "problem": problem,
                "order": torch.from_numpy(tiles.order.copy()),
                "slides": "; ".join(part.name for part in tiles.parts),
                "counts": torch.tensor([len(part) for part in tiles.parts], dtype=torch.int64),
                "coords": torch.from_numpy(_places(tiles)),
            }
            case[key] = tiles.features.T.contiguous()
            case |= self._label(case)
        return case

    def _unlabelled(self, problem: str, numbers: int) -> dict[Hashable, Any]:
        if self.strict:
            raise BadDataError(problem)
        _LOGGER.warning("%s It does not count.", problem)
        return {"label": torch.full((numbers,), _NAN)}

    def _read(self, files: list[Path], name: str) -> Tiles:
        if files[0].suffix.lower() == ".csv":
            features = _table(str(files[0]))[name][1]
            if features.shape[1] != self.width:
                raise BadDataError(
                    f"{files[0]}: {features.shape[1]} numbers a row, expected {self.width}."
                )
            part = Bag(name, features, None, {}, files[0])
            return Tiles(torch.from_numpy(features), np.arange(len(features)), (part,))
        tiles = read_tiles(files, self.width, self.origin.order)
        check_tiles(tiles, self.origin, *self.checks, switch="--{} False")
        if not len(tiles.features):
            raise BadDataError(f"{files[0]}: no tiles. A bag without tiles has no answer.")
        return tiles

    def _label(self, case: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        if self.classes is not None:
            name = str(case["class"])
            if name not in self.classes:
                problem = (
                    f"{case['case']}: its class is {name!r} in the table of labels; expected one "
                    f"of {', '.join(self.classes)}."
                )
                return self._unlabelled(problem, len(self.classes))
            return {"label": torch.tensor([float(name == each) for each in self.classes])}
        if self.edges is not None:
            months, event = float(case["months"]), float(case["event"])
            if np.isnan([months, event]).any():
                problem = f"{case['case']}: no survival_months or no event in the table of labels."
                return self._unlabelled(problem, 3)
            place = float(bins_of([months], self.edges)[0])
            return {"label": torch.tensor([place, 1 - event, months])}
        return {}


@lru_cache(maxsize=2)
def _table(file: str) -> dict[str, tuple[str, np.ndarray]]:
    return read_bag_table(Path(file))


def _no_tiles(width: int) -> Tiles:
    return Tiles(torch.zeros(0, width), np.zeros(0, np.int64), ())


def _places(tiles: Tiles) -> np.ndarray:
    """Places of the tiles in the order of the files, (N, 2); (0, 2) where a file has none."""
    parts = [part.coords for part in tiles.parts if part.coords is not None]
    known = len(parts) == len(tiles.parts) and bool(parts)
    return np.concatenate(parts) if known else np.zeros((0, 2), np.int64)
