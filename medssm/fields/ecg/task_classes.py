"""The classes of a task: the Challenges' lists, PTB-XL's groupings, or the codes that occur."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from medssm.core.errors import BadDataError, UsageError, nearest
from medssm.data.ecg.classes import EcgClass, Year, challenge_classes, code_of, targets
from medssm.data.ecg.folder_tables import PTBXL
from medssm.fields.ecg.records import EcgRecord
from medssm.fields.ecg.study import PlanConfig

_STATEMENTS = "scp_statements.csv"


def task_of(config: PlanConfig, source: Path, records: Sequence[EcgRecord]) -> str:
    """The task that "auto" stands for."""
    if config.task != "auto":
        return config.task
    if (source / PTBXL).is_file():
        return "ptbxl_superdiagnostic"
    scored = challenge_classes(2021)
    if any(targets(each.codes or (), scored).any() for each in records):
        return "challenge2021"
    return "codes"


def classes_of(
    task: str, config: PlanConfig, source: Path, records: Sequence[EcgRecord]
) -> tuple[EcgClass, ...]:
    """The classes of a task, in the order of the logits.

    Raises:
        BadDataError: Nothing is labelled, or a table is missing.
        UsageError: A class that the task does not have.
    """
    if task.startswith("challenge"):
        year: Year = 2020 if task.endswith("2020") else 2021
        classes = challenge_classes(year)
    elif task == "codes":
        classes = _frequent(records, config.min_count)
    else:
        classes = _ptbxl(task.removeprefix("ptbxl_"), source, records)
    if config.merge_flutter:
        classes = _merged(classes)
    if config.classes is not None:
        classes = tuple(_named(word, classes) for word in config.classes)
    if not classes:
        raise BadDataError(
            f"{source}: no label occurs in {config.min_count} records. Lower planner.min_count, "
            "or add labels (#Dx in headers, or labels.csv with record and codes)."
        )
    return classes


def _named(word: str, classes: Sequence[EcgClass]) -> EcgClass:
    for each in classes:
        if word in (each.code, each.abbreviation, *each.codes, *each.abbreviation.split("|")):
            return each
    known = [each.abbreviation for each in classes]
    raise UsageError(f"planner.classes: no class {word!r}; {nearest(word, known)}")


def _merged(classes: Sequence[EcgClass]) -> tuple[EcgClass, ...]:
    """Fibrillation and flutter as one: Ningbo files the first under the second."""
    flutter, fibrillation = code_of("AFL"), code_of("AF")
    merged = EcgClass(f"{fibrillation}|{flutter}", "AF|AFL", "atrial fibrillation or flutter")
    rest = (each for each in classes if flutter not in each.codes)
    return tuple(merged if fibrillation in each.codes else each for each in rest)


def _frequent(records: Iterable[EcgRecord], least: int) -> tuple[EcgClass, ...]:
    counts = Counter(code for each in records for code in dict.fromkeys(each.codes or ()))
    return tuple(
        EcgClass(code, code.rpartition(":")[2], code)
        for code, count in sorted(counts.items(), key=lambda row: (-row[1], row[0]))
        if count >= least
    )


def _ptbxl(task: str, source: Path, records: Sequence[EcgRecord]) -> tuple[EcgClass, ...]:
    """PTB-XL's groupings by the flags of scp_statements.csv.

    Source:
        Wagner et al., PTB-XL, 2020; Strodthoff et al., Deep Learning for ECG Analysis, 2020.
    """
    file = source / _STATEMENTS
    if not file.is_file():
        raise BadDataError(f"{file}: missing. Expected the table of statements beside {PTBXL}.")
    with file.open(encoding="utf-8-sig", newline="") as stream:
        table = {row[next(iter(row))]: row for row in csv.DictReader(stream)}
    used = {code for each in records for code in each.codes or ()}
    grouped: dict[str, list[str]] = {}
    for code, row in sorted(table.items()):
        if f"SCP:{code}" in used:
            for name in _groups(task, code, row):
                grouped.setdefault(name, []).append(f"SCP:{code}")
    return tuple(EcgClass("|".join(grouped[name]), name, name) for name in sorted(grouped))


def _groups(task: str, code: str, row: dict[str, str]) -> list[str]:
    if task == "all":
        return [code]
    flag = "diagnostic" if "diagnostic" in task else task
    if not row.get(flag) or float(row[flag]) != 1:
        return []
    column = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}
    return [row[column[task]]] if task in column else [code]
