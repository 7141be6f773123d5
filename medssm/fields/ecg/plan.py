"""Plans a study: takes stock of a folder, chooses the classes, makes the folds."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from medssm.core.errors import BadDataError
from medssm.core.files import digest, read_json, remove_temporaries, write_json
from medssm.core.log import say
from medssm.data.ecg.classes import EcgClass, targets
from medssm.data.ecg.folder_tables import PTBXL
from medssm.fields.ecg.folds import fold_table, make_folds, refuse_leakage, with_groups
from medssm.fields.ecg.inventory import Inventory, list_files, state_of, take_stock
from medssm.fields.ecg.plan_file import FINDINGS, PLAN, RECORDS, SPLITS, EcgPlan, read_plan
from medssm.fields.ecg.records import EcgRecord, read_records, write_findings, write_records
from medssm.fields.ecg.study import EcgStudy, PlanConfig, open_study
from medssm.fields.ecg.task_classes import classes_of, task_of
from medssm.runs.answer import Answer, table
from medssm.runs.field import StudyRequest
from medssm.runs.workspace import Workspace

__all__ = ["PlanConfig", "ensure_plan", "plan_ecg"]
_SOME_SKIPPED = BadDataError.exit_code
# decides nothing about the result
_HOW = ("workers",)
# folds of one's own beside the records
OWN_SPLITS = "splits.json"


def plan_ecg(request: StudyRequest) -> Answer:
    """Plan a data set and tell what is in it.

    Raises:
        BadDataError: Nothing can be used or learned, or a split leaks.
    """
    study = open_study(request)
    plan = _planned(study)
    folder = study.workspace.preprocessed
    records, splits = read_records(folder), read_json(folder / SPLITS)
    facts, lines = _told(plan, records, splits)
    skipped = plan.counts["skipped"]
    if skipped:
        lines.append(f"{skipped} records cannot be used; each is explained in {folder / FINDINGS}")
    written = [folder / name for name in (PLAN, RECORDS, FINDINGS, SPLITS)]
    code = _SOME_SKIPPED if skipped and not request.skip_bad else 0
    return Answer(facts, lines, written, request.following("preprocess"), code)


def ensure_plan(request: StudyRequest) -> tuple[EcgPlan, Workspace]:
    """The plan of a study, made anew only where data or configuration changed.

    Raises:
        BadDataError: As `plan_ecg`.
    """
    study = open_study(request)
    return _planned(study), study.workspace


def _planned(study: EcgStudy) -> EcgPlan:
    folder = study.workspace.preprocessed
    files = list_files(study)
    if not files:
        raise BadDataError(f"{study.source}: no record in it. Expected ECG records.")
    config = {key: value for key, value in asdict(study.config).items() if key not in _HOW}
    beside = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(study.source.iterdir())
        if file.is_file() and file.suffix in (".csv", ".json")
    ]
    made_of = digest([config, state_of(files), beside])
    whole = all((folder / name).is_file() for name in (PLAN, RECORDS, SPLITS, FINDINGS))
    if whole and not study.request.force:
        plan = read_plan(folder)
        if plan.made_of == made_of:
            return plan
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder)
    return _make(study, take_stock(study, files), made_of)


def _make(study: EcgStudy, stock: Inventory, made_of: str) -> EcgPlan:
    folder, config = study.workspace.preprocessed, study.config
    usable = [each for each in stock.records if each.usable]
    # what cannot be used is written before anything may refuse the data set
    write_findings(folder, stock.findings)
    write_records(folder, stock.records)
    if not usable:
        shown = "; ".join(f"{each.case}: {each.found}" for each in stock.findings[:3])
        raise BadDataError(
            f"{study.source}: none of {len(stock.records)} records can be used ({shown}). "
            f"All are explained in {folder / FINDINGS}."
        )
    task = task_of(config, study.source, usable)
    classes = classes_of(task, config, study.source, usable)
    kind = _kind_of_splits(study, task)
    splits = _splits(study, kind, usable, classes)
    labelled = [each for each in usable if each.labelled]
    counts = {
        "records": len(stock.records),
        "usable": len(usable),
        "skipped": len(stock.records) - len(usable),
        "labelled": len(labelled),
        "duplicates": sum(bool(each.same_as) for each in usable),
        "patients": len({each.patient for each in usable}),
    }
    plan = EcgPlan(
        dataset=study.workspace.dataset,
        source=str(study.source),
        task=task,
        classes=classes,
        rate_hz=config.rate_hz,
        window_s=config.window_s,
        scale=config.scale,
        clip_mv=config.clip_mv,
        bandpass_hz=config.bandpass_hz,
        notch_hz=config.notch_hz,
        min_leads=config.min_leads,
        splits_by=kind,
        counts=counts,
        made_of=made_of,
    )
    write_json(folder / SPLITS, splits)
    # last: with it the plan is whole
    write_json(folder / PLAN, plan.plain())
    say("planned %s: %d records, %d classes (%s)", plan.dataset, len(usable), len(classes), task)
    return plan


def _kind_of_splits(study: EcgStudy, task: str) -> str:
    if study.config.splits != "auto":
        return study.config.splits
    if (study.source / OWN_SPLITS).is_file():
        return "own"
    published = task.startswith("ptbxl") and (study.source / PTBXL).is_file()
    return "ptbxl" if published else "stratified"


def _splits(
    study: EcgStudy, kind: str, usable: list[EcgRecord], classes: tuple[EcgClass, ...]
) -> list[dict[str, Any]]:
    if kind == "own":
        return _own_splits(study, usable)
    return make_folds(kind, usable, classes, study.config.folds, study.config.split_seed)


def _own_splits(study: EcgStudy, usable: list[EcgRecord]) -> list[dict[str, Any]]:
    """Folds given in splits.json beside the records, held against patients and hashes."""
    file = study.source / OWN_SPLITS
    content = read_json(file)
    known = {each.name for each in usable}
    listed = set(list_files(study))
    if not isinstance(content, list) or not all(
        isinstance(each, dict) and {"train", "val"} <= each.keys() for each in content
    ):
        raise BadDataError(f'{file}: expected a list of {{"train": [...], "val": [...]}}.')
    splits = []
    for index, each in enumerate(content):
        split: dict[str, Any] = {"name": str(each.get("name", f"fold {index}"))}
        for part in ("train", "val", "test"):
            names = [str(name) for name in each.get(part, [])]
            strange = sorted(set(names) - listed)
            if strange:
                raise BadDataError(
                    f"{file}: fold {index} names records that are not there: "
                    f"{', '.join(strange[:5])}."
                )
            if part in each:
                split[part] = [name for name in names if name in known]
        splits.append(split)
    refuse_leakage(splits, with_groups(usable))
    return splits


def _told(
    plan: EcgPlan, records: list[EcgRecord], splits: list[dict[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    usable = [each for each in records if each.usable]
    counted = {
        name: dict(Counter(str(getattr(each, name)) for each in usable).most_common())
        for name in ("format", "source", "rate_hz", "leads", "patient_by")
    }
    findings = dict(Counter(code for each in records for code in each.findings).most_common())
    scored = {code for each in plan.classes for code in each.codes}
    unscored = Counter(code for each in usable for code in each.codes or () if code not in scored)
    by_name = {each.name: each for each in usable}
    facts = {
        "dataset": plan.dataset,
        "task": plan.task,
        "counts": dict(plan.counts),
        **counted,
        "findings": findings,
        "classes": _positives(usable, plan.classes),
        "codes_not_scored": dict(unscored.most_common()),
        "splits_by": plan.splits_by,
        "folds": [{k: len(v) if isinstance(v, list) else v for k, v in s.items()} for s in splits],
    }
    lines = table([[key, value] for key, value in plan.counts.items()], ("records", ""))
    for name, counts in counted.items():
        lines.append(
            f"{name}: " + ", ".join(f"{key or 'unknown'} {n}" for key, n in counts.items())
        )
    if findings:
        lines.append("found: " + ", ".join(f"{key} {count}" for key, count in findings.items()))
    if unscored:
        top = ", ".join(f"{code} {count}" for code, count in unscored.most_common(8))
        lines.append(f"codes that {plan.task} does not score: {len(unscored)} ({top})")
    header = ("held back", *(str(split["name"]) for split in splits))
    lines += ["", *table(fold_table(splits, by_name, plan.classes), header)]
    if counted["patient_by"].get("proxy"):
        lines.append("proxy: the source names no patients; same source, age, sex and labels count "
                     "as one.")  # fmt: skip
    return facts, lines


def _positives(records: list[EcgRecord], classes: tuple[EcgClass, ...]) -> dict[str, int]:
    total = np.sum([targets(each.codes or (), classes) for each in records], axis=0)
    return {each.abbreviation: int(n) for each, n in zip(classes, total, strict=True)}
