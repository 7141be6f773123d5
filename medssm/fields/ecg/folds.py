"""Folds by patient: stratified, the published ones, or one source held out; leakage is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.log import warn
from medssm.data.ecg.classes import EcgClass, targets
from medssm.data.stratify import joined, stratified_groups
from medssm.fields.ecg.records import EcgRecord

_PUBLISHED = {"train": range(1, 9), "val": range(9, 10), "test": range(10, 11)}
Split = dict[str, Any]


def with_groups(records: Sequence[EcgRecord]) -> dict[str, int]:
    """The group of each record: its patient, joined with all copies of the same recording."""
    keys = [(each.patient, each.sha256, each.same_as or each.name) for each in records]
    return dict(zip((each.name for each in records), joined(keys), strict=True))


def make_folds(
    kind: str, records: Sequence[EcgRecord], classes: Sequence[EcgClass], folds: int, seed: int
) -> list[Split]:
    """Make the folds of labelled records.

    Args:
        kind: "stratified", "ptbxl" or "leave_one_source_out".
        records: All usable ones.
        classes: What is spread evenly.
        folds: How many.
        seed: Of the shares.

    Raises:
        BadDataError: Too few patients or sources, no published folds, or a patient on both sides.
    """
    labelled = [each for each in records if each.labelled]
    groups = with_groups(labelled)
    if len(set(groups.values())) < 2:
        raise BadDataError(
            f"{len(labelled)} labelled records of {len(set(groups.values()))} patients. Expected "
            "two patients at least, so that one can be held back."
        )
    if kind == "ptbxl":
        splits = [_published(labelled, groups)]
    elif kind == "leave_one_source_out":
        splits = _sources(labelled, groups, classes, folds, seed)
    else:
        fold = _stratified(labelled, groups, classes, folds, seed)
        splits = [
            {
                "name": f"fold {index}",
                "train": [each.name for each in labelled if fold[each.name] != index],
                "val": [each.name for each in labelled if fold[each.name] == index],
            }
            for index in range(max(fold.values()) + 1)
        ]
    again = {each.name for each in labelled if each.same_as}
    for split in splits:
        # the same samples count once where they are scored
        for part in ("val", "test"):
            if part in split:
                split[part] = [name for name in split[part] if name not in again]
    refuse_leakage(splits, groups)
    return splits


def _stratified(
    records: Sequence[EcgRecord], groups: Mapping[str, int], classes: Sequence[EcgClass],
    folds: int, seed: int,
) -> dict[str, int]:  # fmt: skip
    count = max(groups.values()) + 1
    labels = np.zeros((count, len(classes)))
    sizes = np.zeros(count)
    for each in records:
        labels[groups[each.name]] += targets(each.codes or (), classes)
        sizes[groups[each.name]] += 1
    present = np.flatnonzero(sizes)
    fold = np.full(count, -1)
    fold[present] = stratified_groups(
        labels[present], sizes[present], min(folds, len(present)), seed
    )
    return {each.name: int(fold[groups[each.name]]) for each in records}


def _published(records: Sequence[EcgRecord], groups: Mapping[str, int]) -> Split:
    """PTB-XL's own: folds 1 to 8 to train on, 9 to choose with, 10 to report."""
    without = [each.name for each in records if each.fold is None]
    if without:
        raise BadDataError(
            f"{len(without)} records have no published fold, e.g. {without[0]}. Expected PTB-XL's "
            "strat_fold; take planner.splits=stratified for other data."
        )
    split: Split = {"name": "published folds"}
    for part, numbers in _PUBLISHED.items():
        split[part] = [each.name for each in records if each.fold in numbers]
    owners: dict[int, set[str]] = {}
    by_name = {each.name: each for each in records}
    for part in _PUBLISHED:
        for name in split[part]:
            owners.setdefault(groups[name], set()).add(by_name[name].patient)
    held_back = {groups[name] for part in ("val", "test") for name in split[part]}
    # one recording under two patients: the published folds stay, training goes without it
    twice = [n for n in split["train"] if groups[n] in held_back and len(owners[groups[n]]) > 1]
    if twice:
        warn("%d records left out of training: held-back ones have the same samples.", len(twice))
        split["train"] = [name for name in split["train"] if name not in set(twice)]
    return split


def _sources(
    records: Sequence[EcgRecord], groups: Mapping[str, int], classes: Sequence[EcgClass],
    folds: int, seed: int,
) -> list[Split]:  # fmt: skip
    """One split a source: it is tested on, all others are learned from and chosen with."""
    sources = sorted({each.source for each in records})
    if len(sources) < 2:
        raise BadDataError(
            f"all records are of the source {sources[0] or 'unknown'!r}. Expected two sources for "
            "planner.splits=leave_one_source_out."
        )
    splits = []
    for source in sources:
        test = [each.name for each in records if each.source == source]
        held_back = {groups[name] for name in test}
        rest = [each for each in records if groups[each.name] not in held_back]
        if len({groups[each.name] for each in rest}) < 2:
            raise BadDataError(f"nothing is left to learn from without the source {source!r}.")
        fold = _stratified(rest, groups, classes, folds, seed)
        splits.append(
            {
                "name": f"without {source}",
                "train": [each.name for each in rest if fold[each.name] != 0],
                "val": [each.name for each in rest if fold[each.name] == 0],
                "test": test,
            }
        )
    return splits


def refuse_leakage(splits: Sequence[Mapping[str, Any]], groups: Mapping[str, int]) -> None:
    """Refuse splits with a patient or a recording on two sides.

    Raises:
        BadDataError: There is one; the message names records.
    """
    for split in splits:
        seen: dict[int, tuple[str, str]] = {}
        for part in ("train", "val", "test"):
            for name in split.get(part, ()):
                first = seen.setdefault(groups[name], (part, name))
                if first[0] != part:
                    raise BadDataError(
                        f"{split['name']}: {first[1]} ({first[0]}) and {name} ({part}) are of one "
                        "patient or the same recording. Figures on such a split are too good; put "
                        "them on one side, or let planner.splits=stratified make the folds."
                    )


def fold_table(
    splits: Sequence[Mapping[str, Any]], records: Mapping[str, EcgRecord],
    classes: Sequence[EcgClass],
) -> list[list[str]]:  # fmt: skip
    """Positives of each class in the held-back part of each fold."""
    columns = [
        np.sum([targets(records[n].codes or (), classes) for n in split["val"]], axis=0)
        if split["val"]
        else np.zeros(len(classes))
        for split in splits
    ]
    return [
        [each.abbreviation, *(str(int(column[index])) for column in columns)]
        for index, each in enumerate(classes)
    ]
