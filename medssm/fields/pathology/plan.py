"""Plan: join files, labels and patients, refuse what cannot be right, and cut the folds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from medssm.core.errors import BadDataError, UsageError
from medssm.core.files import digest, sha256
from medssm.core.log import warn
from medssm.data.bags import (
    SlideRow,
    bag_header,
    find_bags,
    read_slide_table,
    refuse_conflicting_labels,
)
from medssm.fields.pathology.folds import given_folds, make_folds
from medssm.fields.pathology.plan_file import BagEntry, Plan, TaskName, Unit


@dataclass(frozen=True)
class PlanConfig:
    """What a user may say about the plan.

    Args:
        task: What is learned; "auto" takes survival where the table has times.
        unit: What a bag is; "auto" takes patients for survival, else slides.
        classes: Names of the classes in the order of their numbers; None sorts them.
        folds: Folds of the cross-validation.
        validation: Whether each fold holds back the next one to choose weights and stop early.
        splits: A splits_{i}.csv of CLAM or a folder of them, instead of making folds.
        bins: Time bins of survival.
        seed: Of the folds.
        allow_missing: Go on without the slides of the table that have no file.
    """

    task: Literal["auto", "classification", "survival"] = "auto"
    unit: Literal["auto", "slide", "patient"] = "auto"
    classes: tuple[str, ...] | None = None
    folds: int = 5
    validation: bool = True
    splits: str | None = None
    bins: int = 4
    seed: int = 0
    allow_missing: bool = False

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("bins", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"planner.{name}={getattr(self, name)}: expected {least} or more.")


def inputs_digest(config: PlanConfig, labels: Path, files: Mapping[str, Path]) -> str:
    """A hash of what a plan depends on: settings, labels, splits, names and sizes of files."""
    sizes = {slide: [str(file), file.stat().st_size] for slide, file in files.items()}
    splits = Path(config.splits) if config.splits else None
    parts = sorted(splits.glob("*.csv")) if splits and splits.is_dir() else [splits]
    hashes = [sha256(part) for part in parts if part is not None and part.is_file()]
    return digest([asdict(config), sha256(labels), sizes, hashes])


def find_files(kind: str, source: Path) -> dict[str, Path]:
    """The slides or the feature files of a source, by slide.

    Raises:
        BadDataError: There are none.
    """
    if kind != "slides":
        return find_bags(source)
    from medssm.data.slides import find_slides

    return dict(find_slides(source))


def make_plan(config: PlanConfig, kind: str, labels: Path, files: Mapping[str, Path]) -> Plan:
    """Join the table with the files and cut the folds.

    Args:
        config: What the user wishes.
        kind: slides, features or bags.
        labels: The table.
        files: Slide or feature file of each slide.

    Raises:
        BadDataError: Slides without files, no usable bag, one class, no event, or a patient on
            two sides of a given split; the message names them.
    """
    table = read_slide_table(labels)
    task = _task(config, table, labels)
    unit: Unit = config.unit if config.unit != "auto" else _unit(task)
    excluded = _excluded(config, table, files, labels)
    if kind != "slides":
        excluded |= _without_instances(table, files, excluded)
    kept = {name: row for name, row in table.items() if name not in excluded}
    kept = _answered(kept, task, excluded)
    if unit == "patient" and task == "classification":
        refuse_conflicting_labels(kept, str(labels))
    classes = _classes(config, kept, labels) if task == "classification" else ()
    bags = _bags(kept, unit, classes)
    _check(task, bags, labels)
    if config.splits:
        splits = given_folds(Path(config.splits), table, bags)
    else:
        splits = make_folds(
            list(bags.values()), config.folds, config.validation, config.seed, str(labels)
        )
    if excluded:
        warn("%d slides are not used: %s", len(excluded), _shown(excluded))
    return Plan(
        kind=kind,
        task=task,
        unit=unit,
        classes=classes,
        bins=config.bins,
        bags=bags,
        splits=splits,
        files={name: str(file) for name, file in files.items() if name in kept},
        excluded=excluded,
        mpp={name: row.mpp for name, row in kept.items() if row.mpp is not None},
        inputs=inputs_digest(config, labels, files),
    )


def _unit(task: TaskName) -> Unit:
    return "patient" if task == "survival" else "slide"


def _task(config: PlanConfig, table: Mapping[str, SlideRow], labels: Path) -> TaskName:
    timed = any(row.months is not None for row in table.values())
    labelled = any(row.label is not None for row in table.values())
    if config.task != "auto":
        if not (timed if config.task == "survival" else labelled):
            column = "survival_months" if config.task == "survival" else "label"
            raise BadDataError(f"{labels}: planner.task={config.task} needs the column {column}.")
        return config.task
    if not timed and not labelled:
        raise BadDataError(f"{labels}: neither label nor survival_months is filled in.")
    return "survival" if timed else "classification"


def _excluded(
    config: PlanConfig, table: Mapping[str, SlideRow], files: Mapping[str, Path], labels: Path
) -> dict[str, str]:
    missing = {name: "no file" for name in table if name not in files}
    if missing and (not config.allow_missing or len(missing) == len(table)):
        raise BadDataError(
            f"{labels}: {len(missing)} of {len(table)} slides have no file: {_shown(missing)}. "
            "Add the files, or go on without with planner.allow_missing=true."
        )
    strangers = {name: "not in the table" for name in files if name not in table}
    return missing | strangers


def _without_instances(
    table: Mapping[str, SlideRow], files: Mapping[str, Path], excluded: Mapping[str, str]
) -> dict[str, str]:
    return {
        name: "no instances"
        for name in table
        if name not in excluded and not bag_header(files[name]).count
    }


def _answered(
    table: Mapping[str, SlideRow], task: TaskName, excluded: dict[str, str]
) -> dict[str, SlideRow]:
    kept = {}
    for name, row in table.items():
        if (row.months if task == "survival" else row.label) is None:
            excluded[name] = "no answer in the table"
        else:
            kept[name] = row
    return kept


def _classes(config: PlanConfig, table: Mapping[str, SlideRow], labels: Path) -> tuple[str, ...]:
    found = sorted({str(row.label) for row in table.values()})
    if config.classes is None:
        return tuple(found)
    wished = tuple(map(str, config.classes))
    unknown = sorted(set(found) - set(wished))
    if unknown:
        raise BadDataError(
            f"{labels}: holds the classes {', '.join(unknown)}, which planner.classes="
            f"{list(wished)} does not name."
        )
    return wished


def _bags(table: Mapping[str, SlideRow], unit: Unit, classes: Sequence[str]) -> dict[str, BagEntry]:
    bags: dict[str, BagEntry] = {}
    for row in table.values():
        name = row.patient if unit == "patient" else row.slide
        before = bags[name].slides if name in bags else ()
        label = classes.index(str(row.label)) if classes else None
        bags[name] = BagEntry(name, row.patient, (*before, row.slide), label, row.months, row.event)
    return bags


def _check(task: TaskName, bags: Mapping[str, BagEntry], labels: Path) -> None:
    if task == "classification" and len({each.label for each in bags.values()}) < 2:
        raise BadDataError(
            f"{labels}: the {len(bags)} usable bags are all of one class. Expected two or more."
        )
    if task == "survival" and not any(each.event for each in bags.values()):
        raise BadDataError(
            f"{labels}: all {len(bags)} usable patients are censored. Expected some events "
            "(censorship 0)."
        )


def _shown(reasons: Mapping[str, str], count: int = 8) -> str:
    told = [f"{name} ({why})" for name, why in list(reasons.items())[:count]]
    return ", ".join(told) + (f" and {len(reasons) - count} more" if len(reasons) > count else "")
