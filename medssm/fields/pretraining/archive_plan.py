"""The plan of an archive: scanned by headers, sorted into volumes, decided once, told in full."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from medssm.core.errors import BadDataError, MachineError
from medssm.core.files import digest, read_json, write_json
from medssm.core.log import Progress
from medssm.data.listing import listing
from medssm.fields.pretraining.archive_modality import decide_modality
from medssm.fields.pretraining.archive_study import ArchiveStudy
from medssm.fields.pretraining.backends import run_jobs
from medssm.fields.pretraining.catalogue import FileRow, read_catalogue, scan_jobs
from medssm.fields.pretraining.collect import file_rows
from medssm.fields.pretraining.ledger import Ledger
from medssm.fields.pretraining.selection import Selection, select

PLAN = "plan.json"


def ensure_plan(study: ArchiveStudy) -> tuple[dict[str, Any], Selection]:
    """The plan of an archive and its selection; scanned and decided anew where files changed.

    Returns:
        What plan.json holds, and all volumes and files.

    Raises:
        BadDataError: There is no volume at all.
    """
    rows = _scan(study)
    study.remember()
    config = study.settings.archive
    key = digest(
        [asdict(config), listing(study.source), study.pseudonyms.fingerprint, str(study.source)]
    )
    file = study.folder / PLAN
    before = read_json(file) if file.is_file() else {}
    fresh = study.force or before.get("made_from") != key
    modality = (
        decide_modality(study.source, rows, config, study.pseudonyms)
        if fresh
        else before["modality"]
    )
    selection = select(rows, config, "CT" if modality == "CT" else None, study.pseudonyms)
    if not fresh:
        return before, selection
    if not selection.volumes:
        raise BadDataError(
            f"{study.source}: none of {len(rows)} files is part of a volume: {_counts(selection)}. "
            "Expected DICOM series, NIfTI, MHA or NRRD; with archive.modality=any others than CT."
        )
    counts = Counter(str(each.reason) for each in selection.files if each.reason)
    plan = {
        "format": 1,
        "field": "pretraining",
        "modality": modality,
        "files": len(selection.files),
        "volumes": len(selection.volumes),
        "files_left_out": dict(sorted(counts.items())),
        "settings": asdict(config),
        "made_from": key,
    }
    _tell_files(study, selection, key[:16])
    write_json(file, plan)
    return plan, selection


def _scan(study: ArchiveStudy) -> list[FileRow]:
    """All rows of the catalogue; new and changed files are read."""
    (study.folder / "private").mkdir(mode=0o700, parents=True, exist_ok=True)
    known = read_catalogue(study.catalogue, study.source)
    jobs = scan_jobs(study.source, study.catalogue, study.pseudonyms, known)
    if not jobs:
        return known
    bar = Progress(len(jobs), "scan")
    for job, error in run_jobs(jobs, study.settings.preprocess):
        bar.step(job.name)
        if error is not None:
            raise MachineError(f"scan of {job.name} failed: {error}. Run the same command again.")
    return read_catalogue(study.catalogue, study.source)


def _tell_files(study: ArchiveStudy, selection: Selection, recipe: str) -> None:
    """Append what became of files, where the ledger does not say it already."""
    ledger = Ledger(study.folder / "ledger")
    known = {
        (row.item, row.status, row.reason, row.detail, row.volume)
        for (_, stage), row in ledger.latest().items()
        if stage == "select"
    }
    rows = file_rows(selection, study.pseudonyms, recipe)
    fresh = [r for r in rows if (r.item, r.status, r.reason, r.detail, r.volume) not in known]
    if fresh:
        ledger.append(fresh)


def _counts(selection: Selection) -> str:
    counts = Counter(str(each.reason) or "used" for each in selection.files)
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
