"""Folds that keep a patient on one side and the classes alike: made, or given and checked."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from medssm.core.errors import BadDataError
from medssm.core.log import warn
from medssm.data.bags import SlideRow, read_splits
from medssm.fields.pathology.plan_file import BagEntry

Sides = dict[str, tuple[str, ...]]


def make_folds(
    bags: Sequence[BagEntry], folds: int, validation: bool, seed: int, where: str
) -> tuple[Sides, ...]:
    """Cut the bags into folds; each is tested once, the next one validates.

    Args:
        bags: All bags.
        folds: How many.
        validation: Whether to hold back a further fold for choosing weights and stopping.
        seed: Of the shuffle.
        where: How to call the data in a message.

    Raises:
        BadDataError: Fewer patients than two, or than folds.

    Source:
        scikit-learn's StratifiedGroupKFold over patients; strata are classes, or seen events.
    """
    patients = np.array([each.patient for each in bags])
    count = len(set(patients))
    needed = 3 if validation else 2
    if folds < needed or count < folds:
        raise BadDataError(
            f"{where}: {count} patients and {folds} folds. Expected at least {needed} folds and a "
            f"patient for each; take planner.folds={max(needed, min(folds, count))}"
            + (" or planner.validation=false." if validation else ".")
        )
    strata = np.array([each.label if each.label is not None else int(bool(each.event))
                       for each in bags])  # fmt: skip
    _tell_of_rare(strata, folds, where)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # said by us already, with the counts
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = [test for _, test in splitter.split(strata, strata, patients)]
    sides = []
    for index, test in enumerate(parts):
        held = parts[(index + 1) % folds] if validation else np.array([], dtype=int)
        rest = sorted(set(range(len(bags))) - set(test) - set(held))
        chosen = {"train": rest, "val": held, "test": test}
        sides.append({side: tuple(bags[i].name for i in chosen[side]) for side in chosen})
    return tuple(sides)


def _tell_of_rare(strata: np.ndarray, folds: int, where: str) -> None:
    rare = {key: n for key, n in Counter(strata.tolist()).items() if n < folds}
    if rare:
        warn("%s: classes with fewer bags than folds: %s; some folds lack them.", where, rare)


def given_folds(
    source: Path, table: Mapping[str, SlideRow], bags: Mapping[str, BagEntry]
) -> tuple[Sides, ...]:
    """Folds from CLAM's split files; a leak is an error that names the patients.

    Args:
        source: A file or a folder of splits_{i}.csv.
        table: All slides.
        bags: The bags that are used; others are taken out of the folds.

    Raises:
        BadDataError: A patient on two sides, an unknown id, or a fold without training bags.
    """
    bag_of = {slide: each.name for each in bags.values() for slide in each.slides}
    sides = []
    for number, split in enumerate(read_splits(source, table)):
        fold = {
            side: tuple(dict.fromkeys(bag_of[s] for s in split.get(side, []) if s in bag_of))
            for side in ("train", "val", "test")
        }
        if not fold["train"]:
            raise BadDataError(f"{source}: fold {number} has no training bag that is there.")
        sides.append(fold)
    return tuple(sides)
