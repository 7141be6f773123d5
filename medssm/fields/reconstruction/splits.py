"""Folds of whole patients; a split that the data set brings is held against leakage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.model_selection import KFold

from medssm.core.errors import BadDataError
from medssm.core.files import read_json

Split = dict[str, list[str]]
SEED = 12345
OWN_FILES = ("splits.json", "splits_final.json")


def folds_by_patient(patients: Mapping[str, str], folds: int = 5, seed: int = SEED) -> list[Split]:
    """Folds over cases in which no patient is on both sides.

    Args:
        patients: Case to patient.
        folds: How many; fewer where there are fewer patients.
        seed: Of the shuffle.

    Returns:
        One {"train", "val"} a fold; with one patient a single fold whose two sides are the same.
    """
    members: dict[str, list[str]] = {}
    for case in sorted(patients):
        members.setdefault(patients[case], []).append(case)
    names = sorted(members)
    if len(names) < 2:
        return [{"train": sorted(patients), "val": sorted(patients)}]
    cut = KFold(min(folds, len(names)), shuffle=True, random_state=seed).split(names)
    return [
        {"train": _cases(members, names, train), "val": _cases(members, names, held_back)}
        for train, held_back in cut
    ]


def _cases(members: Mapping[str, list[str]], names: list[str], chosen: Sequence[int]) -> list[str]:
    return sorted(case for index in chosen for case in members[names[index]])


def given_splits(
    source: Path, files: Mapping[str, Path], patients: Mapping[str, str], left_out: Sequence[str]
) -> list[Split] | None:
    """The split that a data set brings: a splits.json, or folders …train and …val.

    Args:
        source: Its folder.
        files: Case to file.
        patients: Case to patient, of the cases that a split may hold.
        left_out: Cases that are known and not used.

    Returns:
        The folds, or None where it brings none.

    Raises:
        BadDataError: The split is malformed, names unknown cases, or leaks a case or patient.
    """
    for name in OWN_FILES:
        own = source / name
        if source.is_dir() and own.is_file():
            return _checked(read_json(own), patients, {*left_out}, str(own))
    sides: Split = {"train": [], "val": []}
    for case in sorted(patients):
        folder = files[case].parent.name.lower()
        for side, cases in sides.items():
            if folder.endswith(side):
                cases.append(case)
    if not all(sides.values()):
        return None
    where = f"{source}: its folders of training and validation"
    return _checked([sides], patients, {*left_out}, where)


def _checked(
    splits: Any, patients: Mapping[str, str], left_out: set[str], where: str
) -> list[Split]:
    if not isinstance(splits, list) or not splits or not all(
        isinstance(each, dict) and {"train", "val"} <= each.keys() for each in splits
    ):  # fmt: skip
        raise BadDataError(f'{where}: expected a list of {{"train": [...], "val": [...]}}.')
    made = []
    for fold, split in enumerate(splits):
        sides = {side: list(map(str, split[side])) for side in ("train", "val")}
        unknown = sorted({*sides["train"], *sides["val"]} - {*patients} - left_out)
        if unknown:
            raise BadDataError(
                f"{where}: fold {fold} names cases that the data set lacks: {_shown(unknown)}. "
                "Cases are called like their files, without the ending."
            )
        kept = {side: [c for c in cases if c in patients] for side, cases in sides.items()}
        people = [{patients[case] for case in kept[side]} for side in ("train", "val")]
        both = sorted(people[0] & people[1])
        if both:
            raise BadDataError(
                f"{where}: fold {fold} has patients in train and in val: {_shown(both)}. Figures "
                "on such a fold are too good; put all cases of a patient on one side, or make new "
                "folds with planner.splits=folds."
            )
        if not all(kept.values()):
            raise BadDataError(
                f"{where}: fold {fold} has no usable case on one side. Expected one or more on "
                "each; make new folds with planner.splits=folds."
            )
        made.append(kept)
    return made


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
