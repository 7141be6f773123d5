"""What the values of a label map mean: classes, overlapping regions, a value to ignore."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError

Value = int | tuple[int, ...]


@dataclass(frozen=True)
class Labels:
    """The labels of a segmentation data set, as its dataset.json declares them.

    Args:
        names: Name to value, or to several values where a region is their union. Holds
            ``background`` (0) and, where voxels are to be left out, ``ignore``.
        regions_class_order: With regions, the value each region is painted with, in order.

    Source:
        nnU-Net v2, dataset format (rules re-stated in the message of each error).
    """

    names: Mapping[str, Value]
    regions_class_order: tuple[int, ...] | None = None

    @cached_property
    def has_regions(self) -> bool:
        """Whether a label is a union of several values."""
        return any(isinstance(value, tuple) for value in self.names.values())

    @cached_property
    def ignore(self) -> int | None:
        """The value that neither loss nor metrics see."""
        value = self.names.get("ignore")
        return value if isinstance(value, int) else None

    @cached_property
    def foreground(self) -> tuple[str, ...]:
        """Names without background and ignore, in the declared order."""
        return tuple(name for name in self.names if name not in ("background", "ignore"))

    @cached_property
    def num_outputs(self) -> int:
        """Channels of a network: one a region, or one a class with the background."""
        return len(self.foreground) + (0 if self.has_regions else 1)

    @cached_property
    def values(self) -> frozenset[int]:
        """Values that a label file may hold."""
        found: set[int] = set()
        for value in self.names.values():
            found.update(value if isinstance(value, tuple) else (value,))
        return frozenset(found)

    def members(self, name: str) -> tuple[int, ...]:
        """The values that belong to a name."""
        value = self.names[name]
        return value if isinstance(value, tuple) else (value,)

    def mask(self, segmentation: np.ndarray, name: str) -> np.ndarray:
        """Where a class or region is.

        Shape:
            segmentation: any; result: the same, bool.
        """
        members = self.members(name)
        if len(members) == 1:
            return segmentation == members[0]
        return np.isin(segmentation, members)


def read_labels(content: Mapping[str, Any], file: str) -> Labels:
    """Take the labels out of a dataset.json and hold them against the rules.

    Args:
        content: The parsed dataset.json.
        file: How to call it in a message.

    Raises:
        BadDataError: A rule is broken; the message says which and how to mend it.
    """
    declared = content.get("labels")
    if not isinstance(declared, Mapping) or not declared:
        raise BadDataError(
            f'{file}: "labels" is missing. Expected {{"background": 0, "liver": 1}}.'
        )
    if all(str(key).isdigit() for key in declared):
        raise BadDataError(
            f"{file}: labels are written as value: name (nnU-Net v1 or Decathlon style). Expected "
            "name: value; turn them round, or run: medssm import msd FOLDER"
        )
    names = {str(name): _value(name, value, file) for name, value in declared.items()}
    order = content.get("regions_class_order")
    labels = Labels(names, tuple(int(each) for each in order) if order is not None else None)
    _check(labels, file)
    return labels


def _value(name: str, value: Any, file: str) -> Value:
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple)):
        raise BadDataError(
            f"{file}: label {name!r} has value {value!r}. Expected a whole number or a list."
        )
    if isinstance(value, int):
        return value
    members = tuple(int(each) for each in value)
    return members[0] if len(members) == 1 else members


def _check(labels: Labels, file: str) -> None:
    if labels.names.get("background") != 0:
        raise BadDataError(f'{file}: "background" must be declared with value 0.')
    present = sorted(labels.values)
    if present != list(range(len(present))):
        raise BadDataError(
            f"{file}: label values are {present}. Expected {list(range(len(present)))} without a "
            "gap; renumber the label files or declare the missing values."
        )
    if labels.ignore is not None and labels.ignore != present[-1]:
        raise BadDataError(
            f"{file}: ignore is {labels.ignore}. Expected the highest value, {present[-1]}."
        )
    if not labels.foreground:
        raise BadDataError(f"{file}: only the background is declared; there is nothing to segment.")
    if labels.has_regions:
        order = labels.regions_class_order
        if order is None or len(order) != len(labels.foreground):
            found = "missing" if order is None else f"of length {len(order)}"
            raise BadDataError(
                f"{file}: some labels are lists, and regions_class_order is {found}. Expected one "
                f"value a region, enclosing regions first: {len(labels.foreground)} values."
            )
