"""Folds: nnU-Net's own where every case is its own patient, else whole patients together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

from medssm.core.errors import BadDataError
from medssm.core.files import read_json
from medssm.data.manifest import Manifest

Split = dict[str, list[str]]
NNUNET_SEED = 12345


def make_splits(manifest: Manifest, folds: int = 5, seed: int = NNUNET_SEED) -> list[Split]:
    """Make the folds, or take splits_final.json of the data set.

    Args:
        manifest: The data set; names and patients decide.
        folds: How many; fewer where there are fewer patients.
        seed: Of the shuffle.

    Returns:
        One {"train": names, "val": names} a fold.

    Raises:
        BadDataError: The data set's own splits leak a patient or name unknown cases.

    Source:
        nnU-Net v2: KFold(5, shuffle, seed 12345) over the sorted names.
    """
    own = manifest.folder / "splits_final.json"
    if own.is_file():
        return check_splits(read_json(own), manifest, str(own))
    patients = sorted({case.patient for case in manifest.cases.values()})
    members: dict[str, list[str]] = {patient: [] for patient in patients}
    for case in manifest.cases.values():
        members[case.patient].append(case.name)
    count = min(folds, len(patients))
    if count < 2:
        raise BadDataError(
            f"{manifest.folder}: all cases belong to one patient. Expected at least two patients, "
            "so that one can be held back."
        )
    splits = []
    for train, held_back in KFold(count, shuffle=True, random_state=seed).split(patients):
        splits.append(
            {
                "train": _names(members, patients, train),
                "val": _names(members, patients, held_back),
            }
        )
    return splits


def _names(members: dict[str, list[str]], patients: Sequence[str], chosen: np.ndarray) -> list[str]:
    return [name for index in chosen for name in sorted(members[patients[index]])]


def check_splits(splits: Any, manifest: Manifest, file: str) -> list[Split]:
    """Hold given splits against the data set.

    Args:
        splits: As read from a splits_final.json.
        manifest: The data set. Cases that were left out are taken out of the splits.
        file: How to call it in a message.

    Raises:
        BadDataError: Wrong form, a case on both sides, a patient on both sides, an unknown case.
    """
    if not isinstance(splits, list) or not all(
        isinstance(each, dict) and {"train", "val"} <= each.keys() for each in splits
    ):
        raise BadDataError(f'{file}: expected a list of {{"train": [...], "val": [...]}}.')
    listed = manifest.content.get("dataset")
    declared = set(listed) if isinstance(listed, dict) else set(manifest.cases)
    checked = []
    for fold, split in enumerate(splits):
        train, val = list(map(str, split["train"])), list(map(str, split["val"]))
        unknown = sorted((set(train) | set(val)) - declared - set(manifest.cases))
        if unknown:
            raise BadDataError(
                f"{file}: fold {fold} names cases that the data set lacks: {_shown(unknown)}."
            )
        train = [name for name in train if name in manifest.cases]
        val = [name for name in val if name in manifest.cases]
        _refuse_leaks(manifest, train, val, f"{file}: fold {fold}")
        checked.append({"train": train, "val": val})
    return checked


def _refuse_leaks(manifest: Manifest, train: list[str], val: list[str], where: str) -> None:
    both = sorted(set(train) & set(val))
    if both:
        raise BadDataError(f"{where} has cases in train and in val: {_shown(both)}.")
    sides = [{manifest.cases[name].patient for name in names} for names in (train, val)]
    patients = sorted(sides[0] & sides[1])
    if patients:
        raise BadDataError(
            f"{where} has patients in train and in val: {_shown(patients)}. Figures on such a "
            "fold are too good; put all cases of a patient on one side."
        )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
